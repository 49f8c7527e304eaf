//! The records of the cluster's metadata: what is persisted in a mutation, one enum, ids never renumbered.
//!
//! | id | record | dies by |
//! |---|---|---|
//! | 1 | `Storage`: a record of s3stream's catalog | its own rules |
//! | 2 | `BrokerRegistered`: the Kafka half of a registration (the lane half is `Storage(LaneRegistered)`) | a newer one of the same node id |
//! | 3 | `TopicCreated` | `TopicDeleted` |
//! | 4 | `PartitionCreated` | its topic |
//! | 5 | `TopicDeleted` | – |
//! | 6 | `ConfigSet`: one key of one resource; no value removes it | its resource |
//! | 7 | `ProducerIdsAllocated`: a block handed to one broker process | – |
//! | 8 | `PartitionsCreated`: many at once, with computed replicas, on consecutive streams | their topic |
//! | 9 | `PartitionReplicasSet`: another replica list, or a computed one again | its partition |
//! | 10 | `ClientQuotaSet`: one key of one entity; no value removes it | – |
//! | 11 | `BrokerLevels`: feature levels that the registering incarnation can work at | its registration |
//! | 12 | `BrokerUnregistered`: an ended registration is forgotten | – |
//!
//! Records 9 to 12 are of feature level 2.
//!
//! An unknown id stops the reader (DESIGN §3, feature levels): skipping one would give it another image than the others.

use bytes::{BufMut, Bytes, BytesMut};
use s3stream::catalog::StorageRecord;
use s3stream::ids::{Incarnation, StreamId};
use s3stream::journal::{DecodeError, Record};
use uuid::Uuid;

use super::image::Endpoint;
use super::quota::QuotaEntity;
use super::wire::{Reader, WireError, put_opt_ids, put_opt_str, put_str};

/// What a configuration belongs to; numbers are Kafka's `ConfigResource.Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ConfigResource {
    /// A topic, by name.
    Topic = 2,
    /// A broker by node id, or the cluster-wide default under the empty name.
    Broker = 4,
    /// A subscription to client metrics, by name (KIP-714).
    ClientMetrics = 16,
    /// A group, by id (KIP-1043).
    Group = 32,
}

impl ConfigResource {
    /// The resource type of that number, if it is one we store.
    pub fn from_code(code: i8) -> Option<ConfigResource> {
        match code {
            2 => Some(ConfigResource::Topic),
            4 => Some(ConfigResource::Broker),
            16 => Some(ConfigResource::ClientMetrics),
            32 => Some(ConfigResource::Group),
            _ => None,
        }
    }
}

/// One persisted change of the cluster's metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum MetadataRecord {
    /// A change of lanes or streams.
    Storage(StorageRecord),
    /// The registering incarnation (that of the mutation) serves as this node.
    BrokerRegistered {
        /// Kafka's broker id, from 0.
        node_id: i32,
        /// Where clients reach it, by listener name.
        endpoints: Vec<Endpoint>,
        /// Where other brokers reach it, `host:port`.
        peer_address: String,
        /// `broker.rack`.
        rack: Option<String>,
        /// The release, for people.
        release: String,
    },
    /// A topic without partitions yet.
    TopicCreated {
        /// Its id, new for every creation.
        topic_id: Uuid,
        /// Its name.
        name: String,
        /// The replication factor that was asked for; reported, since any is accepted.
        replication_factor: i16,
    },
    /// A partition: the next index of its topic, on a stream created in the same mutation or before.
    PartitionCreated {
        /// Its topic.
        topic_id: Uuid,
        /// Its index.
        index: i32,
        /// Its log.
        stream: StreamId,
        /// The replicas that a user assigned, verbatim; None: computed (PRACTICE R3).
        replicas: Option<Vec<i32>>,
    },
    /// The topic, its partitions and its configuration go; its streams are deleted by records beside this one.
    TopicDeleted {
        /// Which.
        topic_id: Uuid,
    },
    /// A dynamic configuration.
    ConfigSet {
        /// Kind of resource.
        resource: ConfigResource,
        /// Its name.
        name: String,
        /// The key.
        key: String,
        /// The value; None removes the key.
        value: Option<String>,
    },
    /// The next `count` partitions of a topic, on streams `first_stream` and following; replicas are computed.
    PartitionsCreated {
        /// Their topic.
        topic_id: Uuid,
        /// Index of the first.
        first_index: i32,
        /// Log of the first.
        first_stream: StreamId,
        /// How many.
        count: u32,
    },
    /// Producer ids below `next` are given out.
    ProducerIdsAllocated {
        /// The first id that nobody has.
        next: i64,
    },
    /// The replicas of a partition are said to be others.
    PartitionReplicasSet {
        /// Its topic.
        topic_id: Uuid,
        /// Its index.
        index: i32,
        /// As in `PartitionCreated`.
        replicas: Option<Vec<i32>>,
    },
    /// A client quota.
    ClientQuotaSet {
        /// Whose.
        entity: QuotaEntity,
        /// The key.
        key: String,
        /// The value; None removes the key.
        value: Option<f64>,
    },
    /// What the registering incarnation (that of the mutation) can; beside `BrokerRegistered`.
    BrokerLevels {
        /// Lowest feature level.
        min: u16,
        /// Highest.
        max: u16,
    },
    /// A registration whose lane has ended is forgotten.
    BrokerUnregistered {
        /// Which.
        incarnation: Incarnation,
    },
}

impl MetadataRecord {
    /// The feature level that brought it.
    pub fn level(&self) -> u16 {
        match self {
            // As storage numbers its records: those from 15 on came with objects of `data/`, from 19 on with rewrites and adoption.
            MetadataRecord::Storage(record) if record.id() >= 19 => 4,
            MetadataRecord::Storage(record) if record.id() >= 15 => 3,
            MetadataRecord::Storage(_)
            | MetadataRecord::BrokerRegistered { .. }
            | MetadataRecord::TopicCreated { .. }
            | MetadataRecord::PartitionCreated { .. }
            | MetadataRecord::TopicDeleted { .. }
            | MetadataRecord::ConfigSet { .. }
            | MetadataRecord::ProducerIdsAllocated { .. }
            | MetadataRecord::PartitionsCreated { .. } => 1,
            MetadataRecord::PartitionReplicasSet { .. }
            | MetadataRecord::ClientQuotaSet { .. }
            | MetadataRecord::BrokerLevels { .. }
            | MetadataRecord::BrokerUnregistered { .. } => 2,
        }
    }
}

impl Record for MetadataRecord {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            MetadataRecord::Storage(storage) => {
                out.put_u16(1);
                storage.encode(out);
            }
            MetadataRecord::BrokerRegistered { node_id, endpoints, peer_address, rack, release } => {
                out.put_u16(2);
                out.put_i32(*node_id);
                out.put_u32(endpoints.len() as u32);
                for e in endpoints {
                    put_str(out, &e.listener);
                    put_str(out, &e.host);
                    out.put_u16(e.port);
                }
                put_str(out, peer_address);
                put_opt_str(out, rack.as_deref());
                put_str(out, release);
            }
            MetadataRecord::TopicCreated { topic_id, name, replication_factor } => {
                out.put_u16(3);
                out.put_u128(topic_id.as_u128());
                put_str(out, name);
                out.put_u16(*replication_factor as u16);
            }
            MetadataRecord::PartitionCreated { topic_id, index, stream, replicas } => {
                out.put_u16(4);
                out.put_u128(topic_id.as_u128());
                out.put_i32(*index);
                out.put_u64(stream.0);
                put_opt_ids(out, replicas.as_deref());
            }
            MetadataRecord::TopicDeleted { topic_id } => {
                out.put_u16(5);
                out.put_u128(topic_id.as_u128());
            }
            MetadataRecord::ConfigSet { resource, name, key, value } => {
                out.put_u16(6);
                out.put_u8(*resource as u8);
                put_str(out, name);
                put_str(out, key);
                put_opt_str(out, value.as_deref());
            }
            MetadataRecord::PartitionsCreated { topic_id, first_index, first_stream, count } => {
                out.put_u16(8);
                out.put_u128(topic_id.as_u128());
                out.put_i32(*first_index);
                out.put_u64(first_stream.0);
                out.put_u32(*count);
            }
            MetadataRecord::ProducerIdsAllocated { next } => {
                out.put_u16(7);
                out.put_i64(*next);
            }
            MetadataRecord::PartitionReplicasSet { topic_id, index, replicas } => {
                out.put_u16(9);
                out.put_u128(topic_id.as_u128());
                out.put_i32(*index);
                put_opt_ids(out, replicas.as_deref());
            }
            MetadataRecord::ClientQuotaSet { entity, key, value } => {
                out.put_u16(10);
                entity.put(out);
                put_str(out, key);
                match value {
                    None => out.put_u8(0),
                    Some(value) => {
                        out.put_u8(1);
                        out.put_u64(value.to_bits());
                    }
                }
            }
            MetadataRecord::BrokerLevels { min, max } => {
                out.put_u16(11);
                out.put_u16(*min);
                out.put_u16(*max);
            }
            MetadataRecord::BrokerUnregistered { incarnation } => {
                out.put_u16(12);
                out.put_u64(incarnation.seq);
                out.put_u32(incarnation.index);
            }
        }
    }

    fn decode(buf: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader(buf);
        let id = r.u16().map_err(malformed)?;
        if id == 1 {
            return StorageRecord::decode(r.0).map(MetadataRecord::Storage);
        }
        let record = decode_fields(id, &mut r)
            .map_err(malformed)?
            .ok_or_else(|| DecodeError::Unknown(format!("metadata record {id}")))?;
        r.finish().map_err(malformed)?;
        Ok(record)
    }
}

fn malformed(e: WireError) -> DecodeError {
    DecodeError::Malformed(e.to_string())
}

fn decode_fields(id: u16, r: &mut Reader) -> Result<Option<MetadataRecord>, WireError> {
    Ok(Some(match id {
        2 => {
            let node_id = r.i32()?;
            let endpoints = (0..r.count(10)?)
                .map(|_| Ok(Endpoint { listener: r.string()?, host: r.string()?, port: r.u16()? }))
                .collect::<Result<_, WireError>>()?;
            MetadataRecord::BrokerRegistered {
                node_id,
                endpoints,
                peer_address: r.string()?,
                rack: r.opt_string()?,
                release: r.string()?,
            }
        }
        3 => MetadataRecord::TopicCreated {
            topic_id: r.uuid()?,
            name: r.string()?,
            replication_factor: r.u16()? as i16,
        },
        4 => {
            let (topic_id, index, stream) = (r.uuid()?, r.i32()?, StreamId(r.u64()?));
            MetadataRecord::PartitionCreated { topic_id, index, stream, replicas: r.opt_ids()? }
        }
        5 => MetadataRecord::TopicDeleted { topic_id: r.uuid()? },
        6 => {
            let code = r.u8()? as i8;
            let Some(resource) = ConfigResource::from_code(code) else { return Ok(None) };
            MetadataRecord::ConfigSet {
                resource,
                name: r.string()?,
                key: r.string()?,
                value: r.opt_string()?,
            }
        }
        7 => MetadataRecord::ProducerIdsAllocated { next: r.i64()? },
        8 => MetadataRecord::PartitionsCreated {
            topic_id: r.uuid()?,
            first_index: r.i32()?,
            first_stream: StreamId(r.u64()?),
            count: r.u32()?,
        },
        9 => MetadataRecord::PartitionReplicasSet {
            topic_id: r.uuid()?,
            index: r.i32()?,
            replicas: r.opt_ids()?,
        },
        10 => {
            let Some(entity) = QuotaEntity::read(r)? else { return Ok(None) };
            let key = r.string()?;
            let value = if r.u8()? == 0 { None } else { Some(f64::from_bits(r.u64()?)) };
            MetadataRecord::ClientQuotaSet { entity, key, value }
        }
        11 => MetadataRecord::BrokerLevels { min: r.u16()?, max: r.u16()? },
        12 => {
            MetadataRecord::BrokerUnregistered { incarnation: Incarnation { seq: r.u64()?, index: r.u32()? } }
        }
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::QuotaEntityType;

    fn samples() -> Vec<MetadataRecord> {
        vec![
            MetadataRecord::BrokerRegistered {
                node_id: 0,
                endpoints: vec![Endpoint { listener: "PLAINTEXT".into(), host: "h".into(), port: 9092 }],
                peer_address: "127.0.0.1:1".into(),
                rack: None,
                release: "0.1.0".into(),
            },
            MetadataRecord::TopicCreated {
                topic_id: Uuid::from_u128(7),
                name: "t".into(),
                replication_factor: -1,
            },
            MetadataRecord::PartitionCreated {
                topic_id: Uuid::from_u128(7),
                index: 3,
                stream: StreamId(9),
                replicas: Some(vec![1, 2]),
            },
            MetadataRecord::TopicDeleted { topic_id: Uuid::from_u128(7) },
            MetadataRecord::ConfigSet {
                resource: ConfigResource::Topic,
                name: "t".into(),
                key: "retention.ms".into(),
                value: Some("1".into()),
            },
            MetadataRecord::ProducerIdsAllocated { next: 1000 },
            MetadataRecord::PartitionsCreated {
                topic_id: Uuid::from_u128(7),
                first_index: 1,
                first_stream: StreamId(2),
                count: 3,
            },
            MetadataRecord::PartitionReplicasSet {
                topic_id: Uuid::from_u128(7),
                index: 3,
                replicas: Some(vec![2, 1]),
            },
            MetadataRecord::PartitionReplicasSet { topic_id: Uuid::from_u128(7), index: 3, replicas: None },
            MetadataRecord::ClientQuotaSet {
                entity: QuotaEntity::new([
                    (QuotaEntityType::ClientId, None),
                    (QuotaEntityType::User, Some("u".into())),
                ]),
                key: "k".into(),
                value: Some(1.5),
            },
            MetadataRecord::ClientQuotaSet {
                entity: QuotaEntity::new([(QuotaEntityType::Ip, Some("::1".into()))]),
                key: "k".into(),
                value: None,
            },
            MetadataRecord::BrokerLevels { min: 1, max: 2 },
            MetadataRecord::BrokerUnregistered { incarnation: Incarnation { seq: 5, index: 6 } },
        ]
    }

    fn encoded(r: &MetadataRecord) -> Bytes {
        let mut out = BytesMut::new();
        r.encode(&mut out);
        out.freeze()
    }

    #[test]
    fn what_is_written_is_read_and_nothing_shorter_or_longer_is() {
        for record in samples() {
            let bytes = encoded(&record);
            assert_eq!(MetadataRecord::decode(bytes.clone()).unwrap(), record);
            for n in 0..bytes.len() {
                assert!(MetadataRecord::decode(bytes.slice(..n)).is_err(), "{record:?} cut at {n}");
            }
            let mut longer = BytesMut::from(&bytes[..]);
            longer.put_u8(0);
            assert!(MetadataRecord::decode(longer.freeze()).is_err());
        }
    }

    #[test]
    fn formats_are_kept_for_ever() {
        let topic = encoded(&samples()[1]);
        assert_eq!(&topic[..], b"\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\x01t\xff\xff");
        let config = encoded(&samples()[4]);
        assert_eq!(&config[..], b"\0\x06\x02\0\0\0\x01t\0\0\0\x0cretention.ms\x01\0\0\0\x011");
    }

    #[test]
    fn formats_of_level_2_are_kept_for_ever() {
        let expected: [&[u8]; 6] = [
            b"\0\x09\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\x03\x01\0\0\0\x02\0\0\0\x02\0\0\0\x01",
            b"\0\x09\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\0\0\0\x03\0",
            b"\0\x0a\0\0\0\x02\x01\x01\0\0\0\x01u\x02\0\0\0\0\x01k\x01\x3f\xf8\0\0\0\0\0\0",
            b"\0\x0a\0\0\0\x01\x03\x01\0\0\0\x03::1\0\0\0\x01k\0",
            b"\0\x0b\0\x01\0\x02",
            b"\0\x0c\0\0\0\0\0\0\0\x05\0\0\0\x06",
        ];
        let level_2: Vec<_> = samples().into_iter().filter(|r| r.level() == 2).collect();
        assert_eq!(level_2.len(), expected.len());
        for (record, bytes) in level_2.iter().zip(expected) {
            assert_eq!(&encoded(record)[..], bytes, "{record:?}");
        }
    }

    #[test]
    fn an_unknown_record_is_never_skipped() {
        assert!(matches!(
            MetadataRecord::decode(Bytes::from_static(b"\x7f\xff")),
            Err(DecodeError::Unknown(_))
        ));
    }
}
