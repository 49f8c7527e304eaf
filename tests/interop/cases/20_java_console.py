"""Java console producer and consumer: keys, headers and nulls come back exactly; a group goes on where it stopped."""

CLIENT = "Java clients"
FEATURES = ["console producer and consumer: keys, headers, nulls, offsets", "group over two runs"]
LINES = [
    ("h1:a,h2:b", "k1", "first"),
    ("h1:ü✓", "k2", "second ü✓"),
    ("h1:c,h1:d", "k1", "NULL"),
    ("h1:e", "NULL", "fourth"),
]


def run(case):
    keys_and_headers(case)
    group(case)


def keys_and_headers(case):
    topic = case.topic("console", partitions=1)
    readers = ["parse.headers=true", "parse.key=true", "key.separator=|", "null.marker=NULL", "headers.delimiter=|"]
    args = [arg for value in readers for arg in ("--reader-property", value)]
    lines = "".join("|".join(line) + "\n" for line in LINES)
    case.tool("ConsoleProducer", "--topic", topic, *args, "--compression-codec", "zstd", stdin=lines)

    shown = ["print.headers=true", "print.key=true", "print.partition=true", "print.offset=true", "null.literal=NULL"]
    shown += ["key.separator=|", "headers.separator=,"]
    args = [arg for value in shown for arg in ("--formatter-property", value)]
    out = consume(case, topic, len(LINES), *args, "--from-beginning")
    # Columns are partition, offset, headers, key, value (DefaultMessageFormatter).
    expected = [f"Partition:0|Offset:{i}|{'|'.join(line)}" for i, line in enumerate(LINES)]
    case.equal("lines", expected, out)
    case.equal("codec", {"zstd"}, {batch.codec for batch in case.batches(topic)})

    out = consume(case, topic, 2, "--partition", 0, "--offset", 2, "--formatter-property", "null.literal=NULL")
    case.equal("values from offset 2", [value for _, _, value in LINES[2:]], out)


def group(case):
    topic = case.topic("console-group", partitions=3)
    values = [f"value {i}" for i in range(60)]
    for partition in range(3):
        case.kcat.produce(topic, [(None, value) for value in values[partition::3]], "-p", partition)
    read = []
    for count in (25, 35):
        read += consume(case, topic, count, "--group", "console", "--from-beginning")
    case.equal("values read by the group in two turns", sorted(values), sorted(read))


def consume(case, topic, count, *args):
    """Exactly `count` lines of the console consumer, which fails when they do not come in 20 s."""
    limits = ["--max-messages", count, "--timeout-ms", 20000]
    return case.tool("consumer.ConsoleConsumer", "--topic", topic, *limits, *args).splitlines()
