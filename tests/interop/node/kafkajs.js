// kafkajs: a gzip producer, a consumer group, the admin client. Prints one line per feature for the rig to read.

const { Kafka, CompressionTypes, ConfigResourceTypes, logLevel } = require('kafkajs')
const assert = require('assert').strict

const kafka = new Kafka({ clientId: 'interop', brokers: [process.argv[2]], logLevel: logLevel.WARN })
const admin = kafka.admin()
const TOPIC = 'kafkajs'
const GROUP = 'kafkajs-group'
const PARTITIONS = 3
const RECORDS = Array.from({ length: 300 }, (_, i) => ({
  partition: i % PARTITIONS,
  key: `k${i}`,
  value: `value ${i} ${'x'.repeat(100)}`,
  headers: { n: String(i) },
}))

const features = {
  'create topics, fetch topic metadata': async () => {
    const topics = [{ topic: TOPIC, numPartitions: PARTITIONS, configEntries: [{ name: 'retention.ms', value: '7200000' }] }]
    assert.equal(await admin.createTopics({ topics, waitForLeaders: true }), true)
    assert.equal(await admin.createTopics({ topics }), false) // it exists
    const { topics: [found] } = await admin.fetchTopicMetadata({ topics: [TOPIC] })
    assert.deepEqual(found.partitions.map(p => p.partitionId).sort(), [0, 1, 2])
    assert.ok((await admin.listTopics()).includes(TOPIC))
    const cluster = await admin.describeCluster()
    assert.equal(`${cluster.brokers[0].host}:${cluster.brokers[0].port}`, process.argv[2])
  },

  'produce with gzip': async () => {
    const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
    await producer.connect()
    for (let i = 0; i < RECORDS.length; i += 100) {
      const messages = RECORDS.slice(i, i + 100)
      const sent = await producer.send({ topic: TOPIC, acks: -1, compression: CompressionTypes.GZIP, messages })
      assert.deepEqual(sent.map(s => s.errorCode), [0, 0, 0])
    }
    await producer.disconnect()
    const ends = await admin.fetchTopicOffsets(TOPIC)
    assert.deepEqual(ends.map(e => [e.low, e.high]), [['0', '100'], ['0', '100'], ['0', '100']])
  },

  'consume in a group of two, commit': async () => {
    const seen = []
    const settings = { groupId: GROUP, sessionTimeout: 6000, heartbeatInterval: 500, maxWaitTimeInMs: 300 }
    const consumers = [0, 1].map(() => kafka.consumer(settings))
    const joined = consumers.map(c => new Promise(resolve => c.on(c.events.GROUP_JOIN, e => resolve(e.payload))))
    for (const consumer of consumers) {
      await consumer.connect()
      await consumer.subscribe({ topics: [TOPIC], fromBeginning: true })
      await consumer.run({ eachMessage: async ({ partition, message }) => { seen.push({ partition, message }) } })
    }
    await Promise.all(joined)
    await until('all records', () => new Set(seen.map(s => `${s.partition}/${s.message.offset}`)).size >= RECORDS.length)
    const described = (await admin.describeGroups([GROUP])).groups[0]
    assert.equal(described.members.length, 2)
    await Promise.all(consumers.map(c => c.disconnect())) // commits what was read
    const found = new Map(seen.map(({ partition, message }) => [message.key.toString(),
      { partition, key: message.key.toString(), value: message.value.toString(), headers: { n: message.headers.n.toString() } }]))
    assert.deepEqual(RECORDS, RECORDS.map(r => found.get(r.key)))
  },

  'fetch, set and reset offsets of a group': async () => {
    const offsets = async () => {
      const [{ partitions }] = await admin.fetchOffsets({ groupId: GROUP, topics: [TOPIC] })
      return partitions.sort((a, b) => a.partition - b.partition).map(p => p.offset)
    }
    assert.deepEqual(await offsets(), ['100', '100', '100'])
    await admin.setOffsets({ groupId: GROUP, topic: TOPIC, partitions: [{ partition: 1, offset: '42' }] })
    assert.deepEqual(await offsets(), ['100', '42', '100'])
    await admin.resetOffsets({ groupId: GROUP, topic: TOPIC, earliest: true })
    assert.deepEqual(await offsets(), ['-2', '-2', '-2']) // kafkajs commits the symbol itself
  },

  'describe configs': async () => {
    const { resources: [topic] } = await admin.describeConfigs({ includeSynonyms: true,
      resources: [{ type: ConfigResourceTypes.TOPIC, name: TOPIC, configNames: ['retention.ms', 'cleanup.policy'] }] })
    assert.equal(topic.errorCode, 0)
    const values = Object.fromEntries(topic.configEntries.map(e => [e.configName, [e.configValue, e.configSource]]))
    assert.deepEqual(values, { 'retention.ms': ['7200000', 1], 'cleanup.policy': ['delete', 5] })
  },

  'alter configs': async () => {
    const { resources: [altered] } = await admin.alterConfigs({ validateOnly: false,
      resources: [{ type: ConfigResourceTypes.TOPIC, name: TOPIC, configEntries: [{ name: 'retention.ms', value: '3600000' }] }] })
    assert.equal(altered.errorCode, 0)
    const { resources: [topic] } = await admin.describeConfigs({ includeSynonyms: false,
      resources: [{ type: ConfigResourceTypes.TOPIC, name: TOPIC, configNames: ['retention.ms'] }] })
    assert.equal(topic.configEntries[0].configValue, '3600000')
  },

  'list, describe and delete groups': async () => {
    assert.deepEqual((await admin.listGroups()).groups.filter(g => g.groupId === GROUP).map(g => g.protocolType), ['consumer'])
    assert.equal((await admin.describeGroups([GROUP])).groups[0].state, 'Empty')
    assert.deepEqual(await admin.deleteGroups([GROUP]), [{ groupId: GROUP, errorCode: 0 }])
    assert.equal((await admin.describeGroups([GROUP])).groups[0].state, 'Dead')
  },

  'delete records': async () => {
    await admin.deleteTopicRecords({ topic: TOPIC, partitions: [{ partition: 0, offset: '60' }, { partition: 1, offset: '-1' }] })
    const offsets = (await admin.fetchTopicOffsets(TOPIC)).sort((a, b) => a.partition - b.partition)
    assert.deepEqual(offsets.map(o => [o.low, o.high]), [['60', '100'], ['100', '100'], ['0', '100']])
  },

  'create partitions': async () => {
    await admin.createPartitions({ topicPartitions: [{ topic: TOPIC, count: 5 }] })
    await until('five partitions with leaders', async () => {
      try {
        return (await admin.fetchTopicOffsets(TOPIC)).length === 5
      } catch (raised) {
        if (raised.retriable) return false // a new partition has no leader yet
        throw raised
      }
    })
  },

  'delete topics': async () => {
    await admin.deleteTopics({ topics: [TOPIC] })
    await until('gone', async () => !(await admin.listTopics()).includes(TOPIC))
  },
}

async function until(what, condition) {
  for (const end = Date.now() + 20000; !(await condition()); await new Promise(resolve => setTimeout(resolve, 50))) {
    assert.ok(Date.now() < end, `not within 20 s: ${what}`)
  }
}

async function main() {
  await admin.connect()
  for (const [feature, show] of Object.entries(features)) {
    let error = null
    try {
      await show()
    } catch (raised) {
      console.error(raised)
      error = `${raised.name}: ${raised.message}`.slice(0, 400)
    }
    console.log(JSON.stringify({ feature, error }))
  }
  await admin.disconnect()
}

main().then(() => process.exit(0), error => { console.error(error); process.exit(1) })
