//! An image as one JSON object, for programs: what `image.rs` says in lines, by name. Pure.

use s3stream::catalog::{Catalog, LaneEnd, LaneState, ObjectState, StreamState};
use s3stream::ids::ObjectId;
use serde_json::{Map, Value, json};

use super::journal::ClusterImage;
use crate::metadata::{ConfigResource, MetadataImage, TopicImage};

/// Everything that the image tells. Incarnations, lanes, objects and seals are texts as in the lines; checksums and nonces are
/// hexadecimal; offsets, counts and bytes are numbers.
pub fn json(image: &ClusterImage) -> Value {
    let inner = &image.inner;
    let times = &image.times;
    let snapshots = image
        .snapshots
        .iter()
        .map(|s| json!({"seq": s.seq, "manifest_crc": format!("{:08x}", s.manifest_crc)}));
    let stores = inner.catalog.stores().map(|(id, url)| json!({"id": id.0, "url": url}));
    let quotas = inner.quotas().map(|(entity, values)| {
        let entity: Map<String, Value> =
            entity.parts().map(|(kind, name)| (kind.name().to_owned(), json!(name))).collect();
        let values: Map<String, Value> =
            values.iter().map(|(key, value)| (key.to_string(), json!(value))).collect();
        json!({"entity": entity, "values": values})
    });
    json!({
        "seq": image.seq,
        "level": image.level,
        "chain": format!("{:08x}", image.chain),
        "log_bytes": image.log_bytes,
        "voids": image.voids,
        "controller": image.controller.map(|c| c.to_string()),
        "lease_ms": times.lease_ms,
        "session_granted_ms": times.session_granted_ms,
        "session_fencing_ms": times.session_fencing_ms,
        "snapshots": snapshots.collect::<Vec<_>>(),
        "stores": stores.collect::<Vec<_>>(),
        "lanes": inner.catalog.lanes().map(|(_, state)| lane(state)).collect::<Vec<_>>(),
        "objects": inner.catalog.objects().map(|(id, state)| object(&inner.catalog, id, state)).collect::<Vec<_>>(),
        "brokers": brokers(inner),
        "topics": inner.topics().map(|t| topic(inner, t)).collect::<Vec<_>>(),
        "configs": configs(inner),
        "quotas": quotas.collect::<Vec<_>>(),
        "next_producer_id": inner.next_producer_id(),
        "next_stream": inner.catalog.next_stream().0,
    })
}

fn brokers(image: &MetadataImage) -> Vec<Value> {
    let registered = image.catalog.lanes().filter_map(|(i, _)| Some((i, image.broker(i)?)));
    let brokers = registered.map(|(incarnation, broker)| {
        let endpoints: Vec<String> =
            broker.endpoints.iter().map(|e| format!("{}://{}:{}", e.listener, e.host, e.port)).collect();
        json!({
            "node_id": broker.node_id,
            "incarnation": incarnation.to_string(),
            "live": image.catalog.is_live(incarnation),
            "endpoints": endpoints,
            "peer_address": broker.peer_address,
            "rack": broker.rack,
            "release": broker.release,
            "levels": image.levels_of(incarnation).map(|(min, max)| [min, max]),
        })
    });
    brokers.collect()
}

fn topic(image: &MetadataImage, topic: &TopicImage) -> Value {
    let partitions = topic.partitions.iter().enumerate().map(|(index, partition)| {
        json!({
            "index": index,
            "stream": partition.stream.0,
            "replicas": partition.replicas.as_ref().map(|replicas| replicas.to_vec()),
            "state": image.catalog.stream(partition.stream).map(stream),
        })
    });
    json!({
        "name": &*topic.name,
        "id": topic.id.to_string(),
        "replication_factor": topic.replication_factor,
        "partitions": partitions.collect::<Vec<_>>(),
    })
}

fn configs(image: &MetadataImage) -> Vec<Value> {
    let resources = [
        ("topic", ConfigResource::Topic),
        ("broker", ConfigResource::Broker),
        ("client-metrics", ConfigResource::ClientMetrics),
        ("group", ConfigResource::Group),
    ];
    let mut configs = Vec::new();
    for (said, resource) in resources {
        for name in image.configured(resource) {
            let values: Map<String, Value> = image
                .config(resource, name)
                .into_iter()
                .flat_map(|c| c.iter())
                .map(|(key, value)| (key.to_string(), json!(&**value)))
                .collect();
            configs.push(json!({"resource": said, "name": &**name, "values": values}));
        }
    }
    configs
}

fn lane(state: &LaneState) -> Value {
    let (end, seal) = match state.end {
        LaneEnd::Open => ("open", None),
        LaneEnd::Fenced { seal_nonce, .. } => ("fenced", Some(seal_nonce)),
        LaneEnd::Left { seal_nonce, .. } => ("left", Some(seal_nonce)),
        LaneEnd::Ended { .. } => ("ended", None),
    };
    json!({
        "id": state.id.to_string(),
        "store": state.store.0,
        "trim": state.trim.0,
        "end": end,
        "length": state.end.length().map(|length| length.0),
        "seal": seal.map(|nonce| format!("{:016x}", nonce.0)),
        "heir": state.heir.map(|heir| heir.to_string()),
        "given_up": state.lost.iter().map(|number| number.0).collect::<Vec<_>>(),
        "released": state.released,
    })
}

fn object(catalog: &Catalog, id: ObjectId, state: &ObjectState) -> Value {
    json!({
        "id": id.to_string(),
        "key": catalog.object_key(id),
        "store": state.store.0,
        "bytes": state.len,
        "references": state.references,
        "condemned": state.is_condemned(),
    })
}

fn stream(state: &StreamState) -> Value {
    let epochs = state.lanes.iter().map(|entry| {
        json!({
            "epoch": entry.epoch.0,
            "incarnation": entry.incarnation.to_string(),
            "end": entry.sealed.map(|seal| seal.end),
            "below": entry.sealed.map(|seal| seal.below.0),
        })
    });
    let ranges = state.ranges.iter().map(|range| {
        json!({
            "start": range.start,
            "end": range.end,
            "epoch": range.epoch.0,
            "object": range.object.to_string(),
            "bytes": range.bytes,
            "max_timestamp": range.max_timestamp,
        })
    });
    json!({
        "owner": state.owner.to_string(),
        "epoch": state.epoch.0,
        "log_start": state.start,
        "uploaded_end": state.base,
        "cleaned": state.cleaned,
        "checkpoint": state.checkpoint.map(|object| object.to_string()),
        "ranges": ranges.collect::<Vec<_>>(),
        "epochs": epochs.collect::<Vec<_>>(),
    })
}
