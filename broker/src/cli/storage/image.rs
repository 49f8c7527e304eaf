//! An image as lines: one per thing, each beginning with what it is. Pure.

use std::fmt::Write;

use s3stream::catalog::{LaneEnd, LaneState, ObjectState, StreamState};

use super::journal::ClusterImage;
use crate::metadata::{ConfigResource, MetadataImage};

/// Everything that the image tells.
pub fn text(image: &ClusterImage) -> String {
    let mut out = String::new();
    let controller = image.controller.map_or_else(|| "nobody".into(), |c| c.to_string());
    let _ = writeln!(out, "image after commit {}, feature level {}", image.seq, image.level);
    let _ = writeln!(
        out,
        "chain {:08x}, log {} bytes, void commits {}",
        image.chain, image.log_bytes, image.voids
    );
    let _ = writeln!(out, "controller {controller}");
    let times = &image.times;
    let _ = writeln!(
        out,
        "lease {} ms, session {} ms granted, {} ms fencing",
        times.lease_ms, times.session_granted_ms, times.session_fencing_ms
    );
    for snapshot in &image.snapshots {
        let _ = writeln!(out, "snapshot {} manifest CRC {:08x}", snapshot.seq, snapshot.manifest_crc);
    }
    push_cluster(&mut out, &image.inner);
    out
}

fn push_cluster(out: &mut String, image: &MetadataImage) {
    for (id, url) in image.catalog.stores() {
        let _ = writeln!(out, "store {} {url}", id.0);
    }
    for (incarnation, state) in image.catalog.lanes() {
        let _ = writeln!(out, "lane {}: {}", state.id, lane(state));
        let Some(broker) = image.broker(incarnation) else { continue };
        let addresses: Vec<String> =
            broker.endpoints.iter().map(|e| format!("{}://{}:{}", e.listener, e.host, e.port)).collect();
        let rack = broker.rack.as_deref().map(|r| format!(", rack {r}")).unwrap_or_default();
        let _ = writeln!(
            out,
            "broker {} is {incarnation}, {}: {}, peer {}{rack}, release {}",
            broker.node_id,
            if image.catalog.is_live(incarnation) { "live" } else { "gone" },
            addresses.join(","),
            broker.peer_address,
            broker.release
        );
        if let Some((min, max)) = image.levels_of(incarnation) {
            let _ = writeln!(out, "broker {} can work at feature levels {min} to {max}", broker.node_id);
        }
    }
    for (id, state) in image.catalog.objects() {
        let _ = writeln!(out, "object {id}: {}", object(state));
    }
    for topic in image.topics() {
        let _ = writeln!(
            out,
            "topic {} {}: {} partitions, replication factor {}",
            topic.name,
            topic.id,
            topic.partitions.len(),
            topic.replication_factor
        );
        for (index, partition) in topic.partitions.iter().enumerate() {
            let assigned = match &partition.replicas {
                Some(replicas) => format!(", replicas {replicas:?}"),
                None => String::new(),
            };
            let said = image.catalog.stream(partition.stream).map_or("NO SUCH STREAM".into(), stream);
            let _ = writeln!(out, "  partition {index} is stream {}{assigned}: {said}", partition.stream);
            for range in image.catalog.stream(partition.stream).iter().flat_map(|s| s.ranges.iter()) {
                let _ = writeln!(
                    out,
                    "    {}..{} epoch {} in object {}, {} bytes, max timestamp {}",
                    range.start, range.end, range.epoch.0, range.object, range.bytes, range.max_timestamp
                );
            }
        }
    }
    let resources = [
        ("topic", ConfigResource::Topic),
        ("broker", ConfigResource::Broker),
        ("client metrics", ConfigResource::ClientMetrics),
        ("group", ConfigResource::Group),
    ];
    for (said, resource) in resources {
        for name in image.configured(resource) {
            for (key, value) in image.config(resource, name).into_iter().flat_map(|c| c.iter()) {
                let _ = writeln!(out, "config of {said} {name}: {key}={value}");
            }
        }
    }
    for (entity, values) in image.quotas() {
        for (key, value) in values.iter() {
            let _ = writeln!(out, "quota of {entity}: {key}={value}");
        }
    }
    let _ = writeln!(
        out,
        "next producer id {}, next stream {}",
        image.next_producer_id(),
        image.catalog.next_stream()
    );
}

fn lane(state: &LaneState) -> String {
    let end = match state.end {
        LaneEnd::Open => "open".into(),
        LaneEnd::Fenced { length, seal_nonce } => format!("fenced at {length} by seal {:016x}", seal_nonce.0),
        LaneEnd::Left { length, seal_nonce } => format!("left at {length} with seal {:016x}", seal_nonce.0),
        LaneEnd::Ended { length } => format!("ended at {length}"),
    };
    let heir = state.heir.map(|heir| format!(", heir {heir}")).unwrap_or_default();
    let lost = if state.lost.is_empty() { String::new() } else { format!(", given up {:?}", state.lost) };
    let released = match state.released {
        0 => String::new(),
        below => format!(", objects below {below} released"),
    };
    format!("store {}, trim {}, {end}{heir}{lost}{released}", state.store.0, state.trim)
}

fn object(state: &ObjectState) -> String {
    let referenced = match state.references {
        0 => "condemned".into(),
        n => format!("references {n}"),
    };
    format!("store {}, {} bytes, {referenced}", state.store.0, state.len)
}

fn stream(state: &StreamState) -> String {
    let mut out = format!("owner {} epoch {}, log start {}", state.owner, state.epoch.0, state.start);
    if state.base > 0 {
        let _ = write!(out, ", uploaded to {}", state.base);
    }
    if state.cleaned > 0 {
        let _ = write!(out, ", compacted to {}", state.cleaned);
    }
    if let Some(object) = state.checkpoint {
        let _ = write!(out, ", checkpoint in {object}");
    }
    for entry in state.lanes.iter() {
        let _ = write!(out, "; epoch {} in {}", entry.epoch.0, entry.incarnation);
        if let Some(seal) = entry.sealed {
            let _ = write!(out, " up to offset {} below {}", seal.end, seal.below);
        }
    }
    out
}
