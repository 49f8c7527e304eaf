//! The state of the cluster at one commit: immutable, shared, cheap to copy (its maps share structure).
//!
//! `apply` is the only way it changes: boot, failover and live traffic fold the same mutations (I5). A mutation is judged
//! whole: one illegal record and nothing of it happens.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use imbl::{OrdMap, Vector};
use s3stream::catalog::Catalog;
use s3stream::ids::{Incarnation, StreamEpoch, StreamId};
use s3stream::journal::{DecodeError, Illegal, Image, MutationPoint};
use uuid::Uuid;

use super::LEVEL_MIN;
use super::quota::QuotaEntity;
use super::record::{ConfigResource, MetadataRecord};
use super::wire::{Reader, WireError, put_opt_ids, put_opt_str, put_str};

/// An address that clients may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name of the listener, e.g. `PLAINTEXT`.
    pub listener: String,
    /// Host as advertised.
    pub host: String,
    /// Port as advertised.
    pub port: u16,
}

/// The Kafka half of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerRegistration {
    /// Kafka's broker id.
    pub node_id: i32,
    /// Where clients reach it.
    pub endpoints: Vec<Endpoint>,
    /// Where other brokers reach it.
    pub peer_address: String,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// The release it runs.
    pub release: String,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicImage {
    /// Its id: another one after it was deleted and created again.
    pub id: Uuid,
    /// Its name.
    pub name: Arc<str>,
    /// The replication factor asked for.
    pub replication_factor: i16,
    /// Its partitions, by index.
    pub partitions: Vector<PartitionImage>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionImage {
    /// Its log.
    pub stream: StreamId,
    /// Replicas assigned by a user, verbatim.
    pub replicas: Option<Arc<[i32]>>,
}

/// A topic that is not what it was.
#[derive(Clone, Debug)]
pub struct TopicChange {
    /// Before; None: it is new.
    pub old: Option<Arc<TopicImage>>,
    /// Now; None: it is gone.
    pub new: Option<Arc<TopicImage>>,
}

type ConfigKey = (ConfigResource, Arc<str>);
type ConfigValues = Arc<BTreeMap<String, String>>;
type QuotaValues = Arc<BTreeMap<String, f64>>;

/// What later levels added to the image: areas behind the rest, by id, each left out while it is empty. So an image of level
/// 1 has the bytes it always had, and an area that a release does not know stops it (SAFETY F11).
const AREA_CLIENT_QUOTAS: u16 = 1;
const AREA_BROKER_LEVELS: u16 = 2;

/// The cluster's metadata at one commit.
#[derive(Clone, Debug, Default)]
pub struct MetadataImage {
    /// Lanes, streams.
    pub catalog: Catalog,
    brokers: OrdMap<Incarnation, Arc<BrokerRegistration>>,
    topics: OrdMap<Arc<str>, Arc<TopicImage>>,
    names: OrdMap<Uuid, Arc<str>>,
    configs: OrdMap<ConfigKey, ConfigValues>,
    next_producer_id: i64,
    quotas: OrdMap<QuotaEntity, QuotaValues>,
    levels: OrdMap<Incarnation, (u16, u16)>,
}

impl MetadataImage {
    /// The topic of that name.
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics.get(name)
    }

    /// The topic of that id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<TopicImage>> {
        self.names.get(&id).and_then(|name| self.topics.get(name))
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.topics.values()
    }

    /// The registration of an incarnation, live or not.
    pub fn broker(&self, incarnation: Incarnation) -> Option<&Arc<BrokerRegistration>> {
        self.brokers.get(&incarnation)
    }

    /// All registrations, by incarnation; of a node that came back, the last alone.
    pub fn brokers(&self) -> impl Iterator<Item = (Incarnation, &Arc<BrokerRegistration>)> {
        self.brokers.iter().map(|(i, b)| (*i, b))
    }

    /// All registrations, live or not: the newest of every node.
    pub fn registrations(&self) -> impl Iterator<Item = (Incarnation, &Arc<BrokerRegistration>)> {
        self.brokers.iter().map(|(i, b)| (*i, b))
    }

    /// Registered and neither fenced nor left, by incarnation.
    pub fn live_brokers(&self) -> impl Iterator<Item = (Incarnation, &Arc<BrokerRegistration>)> {
        self.brokers.iter().filter(|(i, _)| self.catalog.is_live(**i)).map(|(i, b)| (*i, b))
    }

    /// Who owns a stream, and under which epoch.
    pub fn owner(&self, stream: StreamId) -> Option<(Incarnation, StreamEpoch)> {
        self.catalog.stream(stream).map(|s| (s.owner, s.epoch))
    }

    /// The dynamic configuration of a resource; empty where nothing was set.
    pub fn config(&self, resource: ConfigResource, name: &str) -> Option<&ConfigValues> {
        self.configs.get(&(resource, Arc::from(name)))
    }

    /// All resources of that kind that have a configuration.
    pub fn configured(&self, resource: ConfigResource) -> impl Iterator<Item = &Arc<str>> {
        self.configs.keys().filter(move |(r, _)| *r == resource).map(|(_, name)| name)
    }

    /// The quotas of an entity.
    pub fn quotas_of(&self, entity: &QuotaEntity) -> Option<&QuotaValues> {
        self.quotas.get(entity)
    }

    /// All client quotas, by entity.
    pub fn quotas(&self) -> impl Iterator<Item = (&QuotaEntity, &QuotaValues)> {
        self.quotas.iter()
    }

    /// The feature levels that an incarnation said it can; None: it was registered under level 1, and knows at least that.
    pub fn levels_of(&self, incarnation: Incarnation) -> Option<(u16, u16)> {
        self.levels.get(&incarnation).copied()
    }

    /// The first producer id that nobody has.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// What changed in topics since `old`, cheap where the two share structure.
    pub fn topics_since<'a>(&'a self, old: &'a MetadataImage) -> Vec<TopicChange> {
        use imbl::ordmap::DiffItem;
        let diff = old.topics.diff(&self.topics).map(|item| match item {
            DiffItem::Add(_, new) => TopicChange { old: None, new: Some(new.clone()) },
            DiffItem::Remove(_, old) => TopicChange { old: Some(old.clone()), new: None },
            DiffItem::Update { old: (_, old), new: (_, new) } => {
                TopicChange { old: Some(old.clone()), new: Some(new.clone()) }
            }
        });
        diff.collect()
    }

    /// The resources whose configuration is not what it was in `old`, cheap where the two share structure.
    pub fn configs_since(&self, old: &MetadataImage) -> Vec<(ConfigResource, Arc<str>)> {
        use imbl::ordmap::DiffItem;
        let diff = old.configs.diff(&self.configs).map(|item| match item {
            DiffItem::Add(key, _) | DiffItem::Remove(key, _) | DiffItem::Update { new: (key, _), .. } => {
                key.clone()
            }
        });
        diff.collect()
    }

    fn add_partition(&mut self, topic: Uuid, index: i32, partition: PartitionImage) -> Result<(), Illegal> {
        let name = self.names.get(&topic).ok_or_else(|| Illegal::new(format!("no topic {topic}")))?;
        let topic = self.topics.get_mut(name).expect("names and topics change together");
        if topic.partitions.len() as i32 != index {
            return Err(Illegal::new(format!("partition {index} of {name} is not the next")));
        }
        Arc::make_mut(topic).partitions.push_back(partition);
        Ok(())
    }

    fn apply_record(&mut self, at: MutationPoint, record: &MetadataRecord) -> Result<(), Illegal> {
        if record.level() > at.level {
            return Err(Illegal::new(format!(
                "a record of feature level {} while the cluster is at {}",
                record.level(),
                at.level
            )));
        }
        match record {
            MetadataRecord::Storage(record) => Ok(self.catalog.apply(at, record)?),
            MetadataRecord::BrokerRegistered { node_id, endpoints, peer_address, rack, release } => {
                let incarnation = Incarnation { seq: at.seq, index: at.index };
                if !self.catalog.is_live(incarnation) {
                    return Err(Illegal::new("a broker is registered together with its lane"));
                }
                if let Some((other, _)) = self.live_brokers().find(|(_, b)| b.node_id == *node_id) {
                    return Err(Illegal::new(format!("node {node_id} is registered as {other}")));
                }
                // An ended incarnation of the same node is history that nobody asks for.
                let old = self.brokers.iter().filter(|(_, b)| b.node_id == *node_id).map(|(i, _)| *i);
                for incarnation in old.collect::<Vec<_>>() {
                    self.brokers.remove(&incarnation);
                    self.levels.remove(&incarnation);
                }
                let registration = BrokerRegistration {
                    node_id: *node_id,
                    endpoints: endpoints.clone(),
                    peer_address: peer_address.clone(),
                    rack: rack.clone(),
                    release: release.clone(),
                };
                self.brokers.insert(incarnation, Arc::new(registration));
                Ok(())
            }
            MetadataRecord::TopicCreated { topic_id, name, replication_factor } => {
                if self.topics.contains_key(name.as_str()) || self.names.contains_key(topic_id) {
                    return Err(Illegal::new(format!("topic {name} exists")));
                }
                let name: Arc<str> = Arc::from(name.as_str());
                let topic = TopicImage {
                    id: *topic_id,
                    name: name.clone(),
                    replication_factor: *replication_factor,
                    partitions: Vector::new(),
                };
                self.names.insert(*topic_id, name.clone());
                self.topics.insert(name, Arc::new(topic));
                Ok(())
            }
            MetadataRecord::PartitionCreated { topic_id, index, stream, replicas } => {
                if self.catalog.stream(*stream).is_none() {
                    return Err(Illegal::new(format!("stream {stream} does not exist")));
                }
                let replicas = replicas.as_deref().map(Arc::from);
                self.add_partition(*topic_id, *index, PartitionImage { stream: *stream, replicas })
            }
            MetadataRecord::PartitionsCreated { topic_id, first_index, first_stream, count } => {
                for n in 0..*count {
                    let stream = StreamId(first_stream.0 + u64::from(n));
                    if self.catalog.stream(stream).is_none() {
                        return Err(Illegal::new(format!("stream {stream} does not exist")));
                    }
                    let partition = PartitionImage { stream, replicas: None };
                    self.add_partition(*topic_id, first_index + n as i32, partition)?;
                }
                Ok(())
            }
            MetadataRecord::TopicDeleted { topic_id } => {
                let name = self
                    .names
                    .remove(topic_id)
                    .ok_or_else(|| Illegal::new(format!("no topic {topic_id}")))?;
                self.topics.remove(&name);
                self.configs.remove(&(ConfigResource::Topic, name));
                Ok(())
            }
            MetadataRecord::ConfigSet { resource, name, key, value } => {
                if *resource == ConfigResource::Topic && !self.topics.contains_key(name.as_str()) {
                    return Err(Illegal::new(format!("no topic {name}")));
                }
                let at = (*resource, Arc::from(name.as_str()));
                let mut values = self.configs.get(&at).map(|v| (**v).clone()).unwrap_or_default();
                match value {
                    Some(value) => values.insert(key.clone(), value.clone()),
                    None => values.remove(key),
                };
                if values.is_empty() {
                    self.configs.remove(&at);
                } else {
                    self.configs.insert(at, Arc::new(values));
                }
                Ok(())
            }
            MetadataRecord::ProducerIdsAllocated { next } => {
                if *next <= self.next_producer_id {
                    return Err(Illegal::new(format!(
                        "producer ids below {} are given out; {next} is not above",
                        self.next_producer_id
                    )));
                }
                self.next_producer_id = *next;
                Ok(())
            }
            MetadataRecord::PartitionReplicasSet { topic_id, index, replicas } => {
                let name =
                    self.names.get(topic_id).ok_or_else(|| Illegal::new(format!("no topic {topic_id}")))?;
                let topic = self.topics.get_mut(name).expect("names and topics change together");
                let partition = usize::try_from(*index)
                    .ok()
                    .and_then(|index| Arc::make_mut(topic).partitions.get_mut(index))
                    .ok_or_else(|| Illegal::new(format!("no partition {index} of {name}")))?;
                partition.replicas = replicas.as_deref().map(Arc::from);
                Ok(())
            }
            MetadataRecord::ClientQuotaSet { entity, key, value } => {
                if entity.is_empty() {
                    return Err(Illegal::new("a quota of nobody"));
                }
                let mut values = self.quotas.get(entity).map(|v| (**v).clone()).unwrap_or_default();
                match value {
                    Some(value) => values.insert(key.clone(), *value),
                    None => values.remove(key),
                };
                if values.is_empty() {
                    self.quotas.remove(entity);
                } else {
                    self.quotas.insert(entity.clone(), Arc::new(values));
                }
                Ok(())
            }
            MetadataRecord::BrokerLevels { min, max } => {
                let incarnation = at.incarnation();
                if !self.brokers.contains_key(&incarnation) || !(*min..=*max).contains(&at.level) {
                    return Err(Illegal::new(format!(
                        "levels {min} to {max}, while the cluster is at {}, or of nobody who registers",
                        at.level
                    )));
                }
                self.levels.insert(incarnation, (*min, *max));
                Ok(())
            }
            MetadataRecord::BrokerUnregistered { incarnation } => {
                if self.catalog.is_live(*incarnation) {
                    return Err(Illegal::new(format!("{incarnation} is live")));
                }
                if self.brokers.remove(incarnation).is_none() {
                    return Err(Illegal::new(format!("{incarnation} is not registered")));
                }
                self.levels.remove(incarnation);
                Ok(())
            }
        }
    }
}

impl Image for MetadataImage {
    type Record = MetadataRecord;

    fn apply(&mut self, at: MutationPoint, records: &[MetadataRecord]) -> Result<(), Illegal> {
        let mut next = self.clone();
        for record in records {
            next.apply_record(at, record)?;
        }
        *self = next;
        Ok(())
    }

    fn is_live(&self, incarnation: Incarnation) -> bool {
        self.catalog.is_live(incarnation)
    }

    /// A broker that is alone is the controller, who asks itself (`Owner::beyond_this_release`); of several each must have
    /// said that it can.
    fn may_raise(&self, level: u16) -> Result<(), Illegal> {
        let live: Vec<_> = self.live_brokers().collect();
        if live.len() <= 1 {
            return Ok(());
        }
        let able = |incarnation| self.levels_of(incarnation).map_or(LEVEL_MIN, |(_, max)| max);
        match live.iter().find(|(incarnation, _)| able(*incarnation) < level) {
            None => Ok(()),
            Some((incarnation, broker)) => Err(Illegal::new(format!(
                "broker {} can work up to feature level {}; upgrade it first",
                broker.node_id,
                able(*incarnation)
            ))),
        }
    }

    fn encode(&self, out: &mut BytesMut) {
        let mut catalog = BytesMut::new();
        self.catalog.encode(&mut catalog);
        out.put_u32(catalog.len() as u32);
        out.put_slice(&catalog);

        out.put_u32(self.brokers.len() as u32);
        for (incarnation, b) in &self.brokers {
            out.put_u64(incarnation.seq);
            out.put_u32(incarnation.index);
            out.put_i32(b.node_id);
            out.put_u32(b.endpoints.len() as u32);
            for e in &b.endpoints {
                put_str(out, &e.listener);
                put_str(out, &e.host);
                out.put_u16(e.port);
            }
            put_str(out, &b.peer_address);
            put_opt_str(out, b.rack.as_deref());
            put_str(out, &b.release);
        }

        out.put_u32(self.topics.len() as u32);
        for topic in self.topics.values() {
            out.put_u128(topic.id.as_u128());
            put_str(out, &topic.name);
            out.put_u16(topic.replication_factor as u16);
            out.put_u32(topic.partitions.len() as u32);
            for p in &topic.partitions {
                out.put_u64(p.stream.0);
                put_opt_ids(out, p.replicas.as_deref());
            }
        }

        out.put_u32(self.configs.len() as u32);
        for ((resource, name), values) in &self.configs {
            out.put_u8(*resource as u8);
            put_str(out, name);
            out.put_u32(values.len() as u32);
            for (key, value) in values.iter() {
                put_str(out, key);
                put_str(out, value);
            }
        }
        out.put_i64(self.next_producer_id);
        self.encode_areas(out);
    }

    fn decode(buf: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader(buf);
        let image = decode_image(&mut r)?;
        r.finish().map_err(malformed)?;
        Ok(image)
    }

    fn size_hint(&self) -> usize {
        self.catalog.size_hint()
            + 64 * (self.topics.len() + self.configs.len() + self.brokers.len() + self.quotas.len())
    }
}

impl MetadataImage {
    fn encode_areas(&self, out: &mut BytesMut) {
        if !self.quotas.is_empty() {
            let mut area = BytesMut::new();
            area.put_u32(self.quotas.len() as u32);
            for (entity, values) in &self.quotas {
                entity.put(&mut area);
                area.put_u32(values.len() as u32);
                for (key, value) in values.iter() {
                    put_str(&mut area, key);
                    area.put_u64(value.to_bits());
                }
            }
            put_area(out, AREA_CLIENT_QUOTAS, &area);
        }
        if !self.levels.is_empty() {
            let mut area = BytesMut::new();
            area.put_u32(self.levels.len() as u32);
            for (incarnation, (min, max)) in &self.levels {
                area.put_u64(incarnation.seq);
                area.put_u32(incarnation.index);
                area.put_u16(*min);
                area.put_u16(*max);
            }
            put_area(out, AREA_BROKER_LEVELS, &area);
        }
    }

    fn decode_areas(&mut self, r: &mut Reader) -> Result<(), DecodeError> {
        let mut last = 0;
        while !r.is_at_end() {
            let id = r.u16().map_err(malformed)?;
            if id <= last {
                return Err(DecodeError::malformed(format!("area {id} of the image after area {last}")));
            }
            last = id;
            let mut area = Reader(r.bytes().map_err(malformed)?);
            let known = match id {
                AREA_CLIENT_QUOTAS => self.decode_quotas(&mut area).map_err(malformed)?,
                AREA_BROKER_LEVELS => self.decode_levels(&mut area).map(|()| true).map_err(malformed)?,
                _ => false,
            };
            if !known {
                return Err(DecodeError::unknown(format!("area {id} of the image")));
            }
            area.finish().map_err(malformed)?;
        }
        Ok(())
    }

    /// False: an entity of a later release.
    fn decode_quotas(&mut self, r: &mut Reader) -> Result<bool, WireError> {
        for _ in 0..r.count(8)? {
            let Some(entity) = QuotaEntity::read(r)? else { return Ok(false) };
            let mut values = BTreeMap::new();
            for _ in 0..r.count(12)? {
                values.insert(r.string()?, f64::from_bits(r.u64()?));
            }
            self.quotas.insert(entity, Arc::new(values));
        }
        Ok(true)
    }

    fn decode_levels(&mut self, r: &mut Reader) -> Result<(), WireError> {
        for _ in 0..r.count(16)? {
            let incarnation = Incarnation { seq: r.u64()?, index: r.u32()? };
            self.levels.insert(incarnation, (r.u16()?, r.u16()?));
        }
        Ok(())
    }
}

fn put_area(out: &mut BytesMut, id: u16, area: &[u8]) {
    out.put_u16(id);
    out.put_u32(area.len() as u32);
    out.put_slice(area);
}

fn malformed(e: WireError) -> DecodeError {
    DecodeError::Malformed(e.to_string())
}

fn decode_image(r: &mut Reader) -> Result<MetadataImage, DecodeError> {
    let catalog = Catalog::decode(r.bytes().map_err(malformed)?)?;
    let mut image = MetadataImage { catalog, ..MetadataImage::default() };
    decode_rest(&mut image, r).map_err(malformed)?;
    image.decode_areas(r)?;
    Ok(image)
}

fn decode_rest(image: &mut MetadataImage, r: &mut Reader) -> Result<(), WireError> {
    for _ in 0..r.count(30)? {
        let incarnation = Incarnation { seq: r.u64()?, index: r.u32()? };
        let node_id = r.i32()?;
        let endpoints = (0..r.count(10)?)
            .map(|_| Ok(Endpoint { listener: r.string()?, host: r.string()?, port: r.u16()? }))
            .collect::<Result<_, WireError>>()?;
        let registration = BrokerRegistration {
            node_id,
            endpoints,
            peer_address: r.string()?,
            rack: r.opt_string()?,
            release: r.string()?,
        };
        image.brokers.insert(incarnation, Arc::new(registration));
    }
    for _ in 0..r.count(26)? {
        let (id, name): (_, Arc<str>) = (r.uuid()?, r.string()?.into());
        let replication_factor = r.u16()? as i16;
        let mut partitions = Vector::new();
        for _ in 0..r.count(9)? {
            let stream = StreamId(r.u64()?);
            let replicas = r.opt_ids()?.map(Arc::from);
            partitions.push_back(PartitionImage { stream, replicas });
        }
        image.names.insert(id, name.clone());
        image.topics.insert(name.clone(), Arc::new(TopicImage { id, name, replication_factor, partitions }));
    }
    for _ in 0..r.count(9)? {
        let resource = ConfigResource::from_code(r.u8()? as i8).ok_or(WireError::Truncated)?;
        let name: Arc<str> = r.string()?.into();
        let mut values = BTreeMap::new();
        for _ in 0..r.count(8)? {
            values.insert(r.string()?, r.string()?);
        }
        image.configs.insert((resource, name), Arc::new(values));
    }
    image.next_producer_id = r.i64()?;
    Ok(())
}
