//! A bucket with uploads, merges and retention, damaged in every way: what each command says of it.

use std::collections::BTreeSet;

use bytes::Bytes;
use s3stream::ids::{LaneNumber, StreamEpoch, commit_key, data_key, lane_key};
use s3stream::object::format::{encode_header, encode_index_and_footer};
use s3stream::object::{BlockKind, IndexEntry, parse_whole};

use super::rig::{Rig, found};
use super::verify::now::Now;
use super::verify::report::Report;
use super::verify::{lanes, objects, streams};
use super::*;
use crate::cli::args::StorageCommand;

/// Makes an object anew, of these blocks: whole, whatever they say.
fn rebuilt(bytes: Bytes, change: impl FnOnce(&mut Vec<(IndexEntry, Bytes)>)) -> Vec<u8> {
    let whole = parse_whole(bytes).unwrap();
    let mut blocks: Vec<(IndexEntry, Bytes)> =
        whole.footer.entries.iter().map(|entry| (*entry, whole.block(entry).unwrap())).collect();
    change(&mut blocks);
    let mut out = Vec::new();
    encode_header(&whole.footer.header, &mut out);
    for (entry, bytes) in &mut blocks {
        (entry.position, entry.length) = (out.len() as u64, bytes.len() as u32);
        entry.crc = crc32fast::hash(bytes);
        out.extend_from_slice(bytes);
    }
    let entries: Vec<IndexEntry> = blocks.iter().map(|(entry, _)| *entry).collect();
    encode_index_and_footer(&whole.footer.header, &entries, &mut out);
    out
}

impl Rig {
    /// Verifies with another object in its place, and puts it back.
    async fn verify_with(&self, key: &str, bytes: Vec<u8>) -> String {
        let path = self.path().join(key);
        let before = std::fs::read(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let (said, well) = self.verify().await;
        std::fs::write(&path, before).unwrap();
        assert_eq!(well, !said.contains("FOUND "), "{said}");
        said
    }

    fn bytes(&self, key: &str) -> Bytes {
        std::fs::read(self.path().join(key)).unwrap().into()
    }

    fn bucket(&self) -> Bucket {
        Bucket::open(&self.path().display().to_string(), None).unwrap()
    }
}

#[tokio::test]
async fn a_bucket_with_uploads_merges_and_retention_is_well() {
    let rig = Rig::with_history().await;
    let orphan = data_key(rig.object(77));
    std::fs::create_dir_all(rig.path().join(&orphan).parent().unwrap()).unwrap();
    std::fs::write(rig.path().join(&orphan), b"half").unwrap();
    std::fs::write(rig.path().join("data/odd"), b"x").unwrap();
    let (said, well) = rig.verify().await;
    assert!(well, "{said}");
    for part in [
        // Of lanes: 6..8 of stream 1, the seal, 8..10 of stream 0.
        ", 2 lanes with 3 objects, 2 data objects with 3 ranges and 2 checkpoints, ".to_string(),
        format!("NOTE wal/{}: 7 objects below the trim: uploaded, and being deleted\n", rig.first),
        "NOTE data/odd: is not an object of Aquifer's\n".into(),
        format!("NOTE data/: 1 object, 4 B, of {} that the journal does not know: ", rig.first.incarnation),
    ] {
        assert!(said.contains(&part), "{part} in\n{said}");
    }
    assert!(
        said.contains("NOTE data/: 3 objects, ") && said.contains(", that nothing refers to: "),
        "{said}"
    );
    assert_eq!(said.lines().filter(|line| line.starts_with("NOTE ")).count(), 4, "{said}");

    let (json, _) = rig.run(StorageCommand::Verify { json: true }).await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["data_objects"], &json["ranges"]), (&2.into(), &3.into()));
    assert_eq!((&json["checkpoints"], &json["well"]), (&2.into(), &true.into()));
}

#[tokio::test]
async fn a_flipped_bit_of_a_data_object_is_found_wherever_it_is() {
    let rig = Rig::with_history().await;
    for counter in [3, 4] {
        let key = data_key(rig.object(counter));
        let len = rig.len(&key);
        for at in (0..len).step_by(19).chain([len - 1]) {
            let (said, well) = rig.verify_flipped(&key, at).await;
            assert!(!well && found(&said, &key), "{key} byte {at}: {said}");
        }
    }
    // Nobody reads what was condemned.
    assert!(rig.verify_flipped(&data_key(rig.object(0)), 60).await.1);
}

#[tokio::test]
async fn a_data_object_that_is_missing_is_found() {
    let rig = Rig::with_history().await;
    for counter in [3, 4] {
        let key = data_key(rig.object(counter));
        let (said, well) = rig.verify_without(&key).await;
        assert!(
            !well && said.contains(&format!("FOUND {key}: is missing, and streams refer to it")),
            "{said}"
        );
    }
    for key in [data_key(rig.object(0)), lane_key(rig.first, LaneNumber(0))] {
        let (said, well) = rig.verify_without(&key).await;
        assert!(well, "{said}");
    }
    // What was not uploaded is in the lane alone.
    let (said, well) = rig.verify_without(&lane_key(rig.first, LaneNumber(7))).await;
    assert!(!well && found(&said, &lane_key(rig.first, LaneNumber(7))), "{said}");
}

#[tokio::test]
async fn another_object_than_the_journal_says_is_found() {
    let rig = Rig::with_history().await;
    let (merged, upload) = (data_key(rig.object(3)), data_key(rig.object(4)));
    let said = rig.verify_with(&merged, rig.bytes(&upload).to_vec()).await;
    assert!(said.contains(&format!("FOUND {merged}: says that it is number 4 of {}\n", rig.first)), "{said}");
    assert!(said.contains("the journal says"), "another length: {said}");
    let said = rig.verify_with(&merged, rig.bytes(&lane_key(rig.first, LaneNumber(7))).to_vec()).await;
    assert!(found(&said, &merged), "{said}");
}

#[tokio::test]
async fn lies_about_streams_are_found_though_all_checksums_are_right() {
    let rig = Rig::with_history().await;
    let key = data_key(rig.object(3));
    let first = |blocks: &[(IndexEntry, Bytes)], kind: BlockKind, stream: u64| {
        let of = |(entry, _): &(IndexEntry, Bytes)| (entry.kind, entry.stream.0) == (kind, stream);
        blocks.iter().position(of).unwrap()
    };
    assert_eq!(rebuilt(rig.bytes(&key), |_| {}), rig.bytes(&key), "nothing is changed by itself");
    let data = |blocks: &[_], stream| first(blocks, BlockKind::Data, stream);
    let state = |blocks: &[_], stream| first(blocks, BlockKind::Checkpoint, stream);
    type Change<'a> = &'a dyn Fn(&mut Vec<(IndexEntry, Bytes)>);
    let cases: [(&str, Change<'_>); 8] = [
        ("stream 0 epoch 0 offsets 3..6: no block holds 3 to 6", &|b| drop(b.remove(data(b, 0)))),
        ("stream 1 epoch 0 offsets 2..6: no block holds 2 to 6", &|b| {
            let at = data(b, 1);
            b[at].0.epoch = StreamEpoch(1);
        }),
        ("stream 0 epoch 0 offsets 3..6: no block holds 5 to 6", &|b| {
            let at = data(b, 0);
            b[at].0.end = 5;
        }),
        ("a batch of offset 0 stands where 4 belongs", &|b| {
            let at = data(b, 0);
            b[at].0.base = 4;
        }),
        ("timestamp 5000, above the 2000 that the journal says", &|b| {
            let at = data(b, 0);
            b[at].0.max_timestamp = 5000;
        }),
        ("the checkpoint of stream 1 is not in it", &|b| drop(b.remove(state(b, 1)))),
        ("its checkpoint of stream 1 is of offset 5, and the lanes go on at 6", &|b| {
            let at = state(b, 1);
            (b[at].0.base, b[at].0.end) = (5, 5);
        }),
        ("it is not in order of stream, epoch and offset", &|b| {
            let (one, other) = (data(b, 0), data(b, 1));
            b.swap(one, other);
        }),
    ];
    for (expected, change) in cases {
        let said = rig.verify_with(&key, rebuilt(rig.bytes(&key), change)).await;
        let line = said.lines().find(|line| line.contains(expected));
        assert!(
            line.is_some_and(|line| line.starts_with(&format!("FOUND {key}: "))),
            "{expected} in\n{said}"
        );
    }
    // What is wholly below the log start need not be there.
    let less = rebuilt(rig.bytes(&key), |b| {
        let at = data(b, 1);
        let first = 12 + u32::from_be_bytes(b[at].1[8..12].try_into().unwrap()) as usize;
        (b[at].0.base, b[at].1) = (2, b[at].1.slice(first..));
    });
    let said = rig.verify_with(&key, less).await;
    assert_eq!(said.matches("FOUND ").count(), 1, "the length alone: {said}");
    // A checkpoint that nobody can read.
    let garbage = rebuilt(rig.bytes(&key), |b| {
        let at = state(b, 1);
        b[at].1 = vec![1; b[at].1.len()].into();
    });
    assert!(rig.verify_with(&key, garbage).await.contains("the checkpoint contradicts its length"));
}

#[tokio::test]
async fn references_are_counted_again() {
    let rig = Rig::with_history().await;
    let image = journal::image_at(&rig.bucket(), None).await.unwrap();
    let catalog = &image.inner.catalog;
    let held = objects::held(catalog);
    assert_eq!(objects::count_problems(catalog, catalog.objects(), &held), []);
    let merged = rig.object(3);
    let mut fewer = held.clone();
    fewer.remove(&merged);
    let said = objects::count_problems(catalog, catalog.objects(), &fewer);
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].what, "the journal counts 3 references, streams have 0");
    let others = catalog.objects().filter(|(object, _)| *object != merged);
    let said = objects::count_problems(catalog, others, &held);
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].key, data_key(merged));
    assert_eq!(said[0].what, "streams have 3 references to it, and the journal does not know it");
}

/// Whoever reads with the image of any commit, while everything that later ones gave up is deleted, finds nothing.
#[tokio::test]
async fn what_went_while_it_was_read_is_not_missed() {
    let rig = Rig::with_history().await;
    let bucket = rig.bucket();
    let last = journal::image_at(&bucket, None).await.unwrap();
    for (object, _) in last.inner.catalog.objects().filter(|(_, state)| state.is_condemned()) {
        std::fs::remove_file(rig.path().join(data_key(object))).unwrap();
    }
    for (_, lane) in last.inner.catalog.lanes() {
        for number in (0..lane.trim.0).map(LaneNumber) {
            std::fs::remove_file(rig.path().join(lane_key(lane.id, number))).unwrap();
        }
    }
    let mut seen = BTreeSet::new();
    for at in 0..=rig.commits {
        let image = journal::image_at(&bucket, Some(at)).await.unwrap();
        seen.insert(image.inner.catalog.object_count());
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, false);
        let mut now = Now::new(&bucket, image.clone());
        objects::check_objects(&bucket, &image, &mut now, &mut report).await.unwrap();
        let mut read = lanes::LanesRead::default();
        for (_, state) in image.inner.catalog.lanes() {
            lanes::check_lane(&bucket, state, &mut now, &mut read, &mut report).await.unwrap();
        }
        for stream in image.inner.catalog.streams() {
            streams::check_stream(&image, stream, &mut now, &mut read, &mut report).await.unwrap();
        }
        lanes::note_what_does_not_count(&bucket, &image, &mut now, &mut report).await.unwrap();
        objects::note_what_does_not_count(&bucket, &image, &mut now, &mut report).await.unwrap();
        let well = report.finish().unwrap();
        let said = String::from_utf8(out).unwrap();
        assert!(well, "with the image of {at}: {said}");
        assert!(!said.contains("does not know"), "with the image of {at}: {said}");
    }
    assert_eq!(seen, BTreeSet::from([0, 1, 2, 3, 4, 5]));
    assert!(rig.verify().await.1);
}

/// What was adopted is checked as objects of `data/` are, and is not among what is being deleted.
#[tokio::test]
async fn lane_objects_that_were_adopted_are_verified_where_they_lie() {
    let rig = Rig::with_adopted().await;
    let (said, well) = rig.verify().await;
    assert!(well, "{said}");
    assert!(said.contains("1 object below the trim: uploaded, and being deleted"), "{said}");
    for number in [0, 1] {
        let key = lane_key(rig.first, LaneNumber(number));
        let (said, well) = rig.verify_without(&key).await;
        assert!(!well && found(&said, &key), "{said}");
        let (said, well) = rig.verify_flipped(&key, 500).await;
        assert!(!well && found(&said, &key), "{said}");
    }
    let key = lane_key(rig.first, LaneNumber(2));
    assert!(rig.verify_without(&key).await.1, "what was uploaded may go");
}

#[tokio::test]
async fn objects_of_data_are_listed_dumped_and_told() {
    let rig = Rig::with_history().await;
    let (listed, _) =
        rig.run(StorageCommand::Ls { all: false, prefix: "data/".into(), json: false }).await.unwrap();
    let area = format!(
        "data/*/{:020}.{}: 5 objects, 0 to 4, ",
        rig.first.incarnation.seq, rig.first.incarnation.index
    );
    assert!(listed.contains(&area), "{listed}");

    let (said, well) = rig.dump(&data_key(rig.object(3))).await;
    assert!(well, "{said}");
    for part in [
        format!("data of streams, object {}, ", rig.object(3)),
        format!("written by {}\n", rig.first),
        "part of stream 0 epoch 0 offsets 0..6, 1 block, ".into(),
        "part of stream 1 epoch 0 offsets 0..6, 1 block, ".into(),
        "  batch 4..6 2 records, ".into(),
        "Checkpoint stream 1 epoch 0 offsets 6..6 at ".into(),
        "  producer 7 epoch 0 sequences 4..=5 at offsets 4..=5, timestamp 2000\n".into(),
    ] {
        assert!(said.contains(&part), "{part} in\n{said}");
    }
    let commits = (1..=rig.commits).map(commit_key);
    let mut records = String::new();
    for key in commits {
        records += &rig.dump(&key).await.0;
    }
    for record in ["  LaneUploaded {", "  ObjectsMerged {", "  StreamTrimmed {"] {
        assert!(records.contains(record), "{record} in\n{records}");
    }

    let (said, _) = rig.run(StorageCommand::Image { at: None, json: false }).await.unwrap();
    for part in [
        format!("object {}: store 0, ", rig.object(3)),
        " bytes, references 3\n".into(),
        " bytes, condemned\n".into(),
        format!("log start 3, uploaded to 8, checkpoint in {}; ", rig.object(4)),
        format!("\n    6..8 epoch 0 in object {}, ", rig.object(4)),
    ] {
        assert!(said.contains(&part), "{part} in\n{said}");
    }
    let (json, _) = rig.run(StorageCommand::Image { at: None, json: true }).await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let merged = &json["objects"][3];
    assert_eq!((&merged["id"], &merged["references"]), (&rig.object(3).to_string().into(), &3.into()));
    assert_eq!((&merged["key"], &merged["condemned"]), (&data_key(rig.object(3)).into(), &false.into()));
    assert_eq!(json["objects"][0]["condemned"], true);
    let state = &json["topics"][0]["partitions"][0]["state"];
    assert_eq!((&state["uploaded_end"], &state["log_start"]), (&8.into(), &3.into()));
    assert_eq!(state["checkpoint"], rig.object(4).to_string());
    assert_eq!((&state["ranges"][1]["start"], &state["ranges"][1]["end"]), (&6.into(), &8.into()));
    assert_eq!(state["ranges"].as_array().map(Vec::len), Some(2));
    assert_eq!(json["lanes"][0]["released"], 0);
}
