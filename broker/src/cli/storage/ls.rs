//! What is in a bucket, by area, with counts and bytes; or key by key.

use std::collections::BTreeMap;
use std::fmt::Write;

use s3stream::ids::{Incarnation, ObjectId, parse_data_key};
use s3stream::store::Listed;
use serde_json::{Value, json};

use super::bucket::Bucket;
use super::bytes_text;

/// What is under a prefix.
pub struct Listing {
    bucket: String,
    listed: Vec<Listed>,
    /// Every key, not areas (lanes, writers).
    all: bool,
}

/// Lists what is under `prefix`, to be shown by key with `all`, else by area, lane and writer.
///
/// # Errors
/// The store does not answer.
pub async fn list(bucket: &Bucket, prefix: &str, all: bool) -> anyhow::Result<Listing> {
    Ok(Listing { bucket: bucket.to_string(), listed: bucket.list(prefix).await?, all })
}

impl Listing {
    /// A line for each key or area.
    pub fn text(&self) -> String {
        if self.all { every_key(&self.listed) } else { areas_text(&self.bucket, &self.listed) }
    }

    /// `{"bucket", "objects", "bytes"}` and `keys: [{"key", "bytes"}]`, or
    /// `areas: [{"area", "objects", "bytes", "lowest", "highest"}]`: the lowest and highest number in the area's keys, null
    /// where they have none.
    pub fn json(&self) -> Value {
        let bytes: u64 = self.listed.iter().map(|l| l.len).sum();
        let mut json = json!({"bucket": self.bucket, "objects": self.listed.len(), "bytes": bytes});
        if self.all {
            json["keys"] = self.listed.iter().map(|l| json!({"key": l.key, "bytes": l.len})).collect();
        } else {
            let areas = areas(&self.listed).into_iter().map(|(area, of)| {
                json!({
                    "area": area,
                    "objects": of.count,
                    "bytes": of.bytes,
                    "lowest": of.numbers.map(|(low, _)| low),
                    "highest": of.numbers.map(|(_, high)| high),
                })
            });
            json["areas"] = areas.collect();
        }
        json
    }
}

fn every_key(listed: &[Listed]) -> String {
    let mut out = String::new();
    for l in listed {
        let _ = writeln!(out, "{:>12} {}", l.len, l.key);
    }
    out
}

/// What is known of the keys of one area.
#[derive(Default)]
struct Area {
    count: u64,
    bytes: u64,
    /// Lowest and highest number in a key's last part.
    numbers: Option<(u64, u64)>,
}

fn areas(listed: &[Listed]) -> BTreeMap<String, Area> {
    let mut areas: BTreeMap<String, Area> = BTreeMap::new();
    for l in listed {
        let (area, number) = area_of(&l.key);
        let area = areas.entry(area).or_default();
        area.count += 1;
        area.bytes += l.len;
        if let Some(n) = number {
            let (low, high) = area.numbers.unwrap_or((n, n));
            area.numbers = Some((low.min(n), high.max(n)));
        }
    }
    areas
}

fn areas_text(name: &str, listed: &[Listed]) -> String {
    let areas = areas(listed);
    let mut out = format!("{name}\n");
    for (key, area) in &areas {
        let numbers = match area.numbers {
            Some((low, high)) if low != high => format!(", {low} to {high}"),
            Some((low, _)) => format!(", {low}"),
            None => String::new(),
        };
        let objects = if area.count == 1 { "object" } else { "objects" };
        let _ = writeln!(out, "{key}: {} {objects}{numbers}, {}", area.count, bytes_text(area.bytes));
    }
    let bytes = areas.values().map(|a| a.bytes).sum();
    let count: u64 = areas.values().map(|a| a.count).sum();
    let _ = writeln!(out, "in all: {count} objects, {}", bytes_text(bytes));
    out
}

/// The area of a key, and the number that it has in there.
fn area_of(key: &str) -> (String, Option<u64>) {
    let parts: Vec<&str> = key.split('/').collect();
    match parts[..] {
        ["meta", "snapshot", seq, _] => ("meta/snapshot".into(), seq.parse().ok()),
        ["meta", area, number] => (format!("meta/{area}"), number.parse().ok()),
        // The part between spreads keys; an incarnation counts over all of it.
        ["data", ..] => match parse_data_key(key) {
            Some(ObjectId { incarnation: Incarnation { seq, index }, counter }) => {
                (format!("data/*/{seq:020}.{index}"), Some(counter))
            }
            None => ("data".into(), None),
        },
        ["wal", lane, number] => (format!("wal/{lane}"), number.parse().ok()),
        [area, _, ..] => (area.into(), None),
        _ => (key.into(), None),
    }
}

#[cfg(test)]
mod tests {
    use s3stream::ids::{LaneId, LaneNumber, Nonce, commit_key, data_key, lane_key, snapshot_key};

    use super::*;

    #[test]
    fn areas_are_counted_and_lanes_told_apart() {
        let lane = LaneId { incarnation: Incarnation { seq: 1, index: 0 }, nonce: Nonce(0xab) };
        let keys = [
            "cluster".to_string(),
            commit_key(1),
            commit_key(2),
            "meta/odd".to_string(),
            snapshot_key(0, "manifest"),
            lane_key(lane, LaneNumber(0)),
            lane_key(lane, LaneNumber(7)),
            data_key(ObjectId { incarnation: lane.incarnation, counter: 3 }),
            data_key(ObjectId { incarnation: lane.incarnation, counter: 40 }),
            "data/odd/1".to_string(),
        ];
        let listed: Vec<Listed> = keys.into_iter().map(|key| Listed { key, len: 1024 }).collect();
        assert_eq!(
            areas_text("here", &listed),
            "here\n\
             cluster: 1 object, 1.0 KiB\n\
             data: 1 object, 1.0 KiB\n\
             data/*/00000000000000000001.0: 2 objects, 3 to 40, 2.0 KiB\n\
             meta: 1 object, 1.0 KiB\n\
             meta/log: 2 objects, 1 to 2, 2.0 KiB\n\
             meta/snapshot: 1 object, 0, 1.0 KiB\n\
             wal/00000000000000000001.0-00000000000000ab: 2 objects, 0 to 7, 2.0 KiB\n\
             in all: 10 objects, 10.0 KiB\n"
        );
        assert_eq!(every_key(&listed[..1]), "        1024 cluster\n");

        let mut said = Listing { bucket: "here".into(), listed, all: false };
        let json = said.json();
        assert_eq!(
            (&json["bucket"], &json["objects"], &json["bytes"]),
            (&json!("here"), &json!(10), &json!(10240))
        );
        let odd = json!({"area": "meta", "objects": 1, "bytes": 1024, "lowest": null, "highest": null});
        assert_eq!(json["areas"][3], odd);
        let log = json!({"area": "meta/log", "objects": 2, "bytes": 2048, "lowest": 1, "highest": 2});
        assert_eq!(json["areas"][4], log);
        said.all = true;
        assert_eq!(said.json()["keys"][0], json!({"key": "cluster", "bytes": 1024}));
        assert_eq!(said.json()["keys"].as_array().map(Vec::len), Some(10));
    }
}
