"""kcat: an idempotent producer gets a producer id, and its records stand once and in order."""

CLIENT = "kcat (librdkafka)"
FEATURES = ["idempotent producer"]


def run(case):
    topic = case.topic("idempotent", partitions=2)
    count = 300 if case.quick else 3000
    sent = [(None, f"record {i}") for i in range(count)]
    small_batches = ["-X", "batch.num.messages=50", "-X", "linger.ms=1"]
    case.kcat.produce(topic, sent, "-p", 1, "-X", "enable.idempotence=true", *small_batches)
    read = case.kcat.consume(topic, partition=1)
    case.equal("values", [value for _, value in sent], [r.value for r in read])
    case.dense_from(0, read)
    case.equal("the other partition's end", 0, case.end_offset(topic, 0))
    producer_ids = {batch.producer_id for batch in case.batches(topic, 1)}
    case.true(f"one producer id, found {producer_ids}", len(producer_ids) == 1 and producer_ids != {-1})
