//! The bucket of two incarnations, damaged byte by byte: what each command says of it.

use bytes::Bytes;
use protocol::batch_builder::BatchBuilder;
use protocol::record_batch::Batch;
use s3stream::ids::{
    Incarnation, LaneId, LaneNumber, StreamEpoch, StreamId, commit_key, lane_key, snapshot_key,
};

use super::rig::{Rig, found};
use super::*;
use crate::cli::args::StorageCommand;
use crate::partition::attachment::ProducerAttachment;

#[tokio::test]
async fn a_whole_bucket_is_told_and_nothing_is_wrong_with_it() {
    let rig = Rig::new(0).await;
    let (said, well) = rig.verify().await;
    assert!(well, "{said}");
    let expected = format!(
        "checked {} commits, 1 snapshot, 2 lanes with 4 objects, 0 data objects with 0 ranges and 0 checkpoints, 7 blocks, ",
        rig.commits
    );
    assert!(said.starts_with(&expected) && said.ends_with(": nothing is wrong\n"), "{said}");

    let (said, _) =
        rig.run(StorageCommand::Ls { all: false, prefix: "wal/".into(), json: false }).await.unwrap();
    // Seals are put at the first missing number and one beyond (the window of a lane with one PUT in flight).
    assert!(said.contains(&format!("wal/{}: 4 objects, 0 to 3", rig.first)), "{said}");
    let (said, _) =
        rig.run(StorageCommand::Ls { all: true, prefix: "meta/log/".into(), json: false }).await.unwrap();
    assert_eq!(said.lines().count() as u64, rig.commits);
    assert!(said.lines().next().unwrap().ends_with(&commit_key(1)), "{said}");
}

#[tokio::test]
async fn every_object_can_be_dumped() {
    let rig = Rig::new(0).await;
    for listed in Bucket::open(&rig.path().display().to_string(), None).unwrap().list("").await.unwrap() {
        let (said, well) = rig.dump(&listed.key).await;
        assert!(well && !said.is_empty(), "{}: {said}", listed.key);
    }
    let (said, _) = rig.dump(&commit_key(2)).await;
    for part in [
        "commit 2, ",
        "writer 1.0, nonce ",
        "mutation 0: 1 of 1.0, 3 records",
        "TopicCreated { topic_id: 00000000-0000-0000-0000-000000000007, name: \"t\", replication_factor: 3 }",
        "StreamCreated { stream: StreamId(0), owner: Incarnation { seq: 1, index: 0 } }",
    ] {
        assert!(said.contains(part), "{part} in\n{said}");
    }
    let (said, _) = rig.dump(&lane_key(rig.first, LaneNumber(1))).await;
    for part in [
        &format!("object 1 of lane {}, ", rig.first),
        "Data stream 0 epoch 0 offsets 2..4 at 52, ",
        "batch 2..4 2 records, ",
        " none, timestamps 1000..2000, producer 7 epoch 0 sequence 2\n",
        "attachment of 2: 2 records, producer 7 epoch 0 sequence 2\n",
    ] {
        assert!(said.contains(part), "{part} in\n{said}");
    }
    let (said, _) = rig.dump(&lane_key(rig.first, LaneNumber(2))).await;
    assert!(said.starts_with("seal 2 of lane ") && said.contains("\"node 0\""), "{said}");
    let missing = rig.run(StorageCommand::Dump { key: "meta/log/x".into() }).await.unwrap_err().to_string();
    assert!(missing.starts_with("there is no object meta/log/x"), "{missing}");
}

#[tokio::test]
async fn the_image_is_told_as_it_was_after_any_commit() {
    let rig = Rig::new(0).await;
    let (now, _) = rig.run(StorageCommand::Image { at: None, json: false }).await.unwrap();
    let second = rig.second.incarnation;
    for part in [
        format!("image after commit {}, ", rig.commits),
        format!("controller {second}\n"),
        format!("lane {}: store 0, trim 0, fenced at 2 by seal ", rig.first),
        format!("broker 0 is {second}, live: PLAINTEXT://h:9092, peer 127.0.0.1:1, release 0.0.0\n"),
        "topic t 00000000-0000-0000-0000-000000000007: 1 partitions, replication factor 3\n".into(),
        format!(
            "  partition 0 is stream 0: owner {second} epoch 1, log start 0; epoch 0 in 1.0; epoch 1 in {second}\n"
        ),
    ] {
        assert!(now.contains(&part), "{part} in\n{now}");
    }
    let (then, _) = rig.run(StorageCommand::Image { at: Some(1), json: false }).await.unwrap();
    assert!(then.contains("image after commit 1,") && !then.contains("topic t"), "{then}");
    assert!(then.contains(&format!("lane {}: store 0, trim 0, open\n", rig.first)), "{then}");
    let late = rig.run(StorageCommand::Image { at: Some(999), json: false }).await.unwrap_err().to_string();
    assert!(late.contains("is missing: the log ends before it"), "{late}");
}

#[tokio::test]
async fn what_is_told_in_lines_is_told_as_json_too() {
    let rig = Rig::new(0).await;
    let ask = async |command: StorageCommand| -> (serde_json::Value, bool) {
        let (said, well) = rig.run(command).await.unwrap();
        (serde_json::from_str(&said).expect(&said), well)
    };
    let (image, _) = ask(StorageCommand::Image { at: None, json: true }).await;
    let second = rig.second.incarnation.to_string();
    assert_eq!((&image["seq"], &image["controller"]), (&rig.commits.into(), &second.clone().into()));
    let lane = &image["lanes"][0];
    assert_eq!((&lane["end"], &lane["length"], &lane["trim"]), (&"fenced".into(), &2.into(), &0.into()));
    assert_eq!(lane["id"], rig.first.to_string());
    let broker = image["brokers"].as_array().unwrap().iter().find(|b| b["live"] == true).unwrap();
    assert_eq!((&broker["node_id"], &broker["incarnation"]), (&0.into(), &second.clone().into()));
    assert_eq!(broker["endpoints"][0], "PLAINTEXT://h:9092");
    let topic = &image["topics"][0];
    assert_eq!((&topic["name"], &topic["replication_factor"]), (&"t".into(), &3.into()));
    let state = &topic["partitions"][0]["state"];
    assert_eq!(
        (&state["owner"], &state["epoch"], &state["log_start"]),
        (&second.into(), &1.into(), &0.into())
    );
    assert_eq!(state["epochs"].as_array().map(Vec::len), Some(2));
    assert_eq!((&image["next_stream"], &image["quotas"]), (&1.into(), &serde_json::json!([])));

    let (listed, _) = ask(StorageCommand::Ls { all: false, prefix: "wal/".into(), json: true }).await;
    assert_eq!(listed["areas"][0]["area"], format!("wal/{}", rig.first));
    assert_eq!((&listed["areas"][0]["objects"], &listed["areas"][0]["highest"]), (&4.into(), &3.into()));

    let verify = || StorageCommand::Verify { json: true };
    let (whole, well) = ask(verify()).await;
    assert!(well && whole["well"] == true, "{whole}");
    assert_eq!((&whole["commits"], &whole["lanes"]), (&rig.commits.into(), &2.into()));
    assert_eq!((&whole["objects"], &whole["blocks"]), (&4.into(), &7.into()));
    assert_eq!(whole["found"], serde_json::json!([]));
    let key = lane_key(rig.first, LaneNumber(0));
    std::fs::remove_file(rig.path().join(&key)).unwrap();
    let (damaged, well) = ask(verify()).await;
    assert!(!well && damaged["well"] == false, "{damaged}");
    let found = damaged["found"].as_array().unwrap();
    let missing = serde_json::json!({"key": key, "what": "is missing below the sealed length"});
    assert!(found.contains(&missing), "{damaged}");
}

#[tokio::test]
async fn a_flipped_bit_is_found_wherever_it_is() {
    let rig = Rig::new(0).await;
    let object = lane_key(rig.first, LaneNumber(0));
    let len = rig.len(&object);
    // Header, data, index, footer; in steps that visit each part.
    for at in (0..len).step_by(23).chain([len - 1]) {
        let (said, well) = rig.verify_flipped(&object, at).await;
        assert!(!well && found(&said, &object), "byte {at}: {said}");
    }
    for key in [
        commit_key(1),
        commit_key(2),
        commit_key(rig.commits),
        snapshot_key(0, "manifest"),
        snapshot_key(0, "000000"),
        lane_key(rig.second, LaneNumber(0)),
        lane_key(rig.first, LaneNumber(2)),
    ] {
        for at in [0, rig.len(&key) / 2, rig.len(&key) - 1] {
            let (said, well) = rig.verify_flipped(&key, at).await;
            assert!(!well && found(&said, &key), "{key} byte {at}: {said}");
        }
    }
    assert!(rig.verify().await.1);
}

#[tokio::test]
async fn what_is_missing_is_found_where_the_journal_says_that_it_is_there() {
    let rig = Rig::new(0).await;
    for key in
        [commit_key(1), commit_key(2), lane_key(rig.first, LaneNumber(0)), lane_key(rig.first, LaneNumber(2))]
    {
        let (said, well) = rig.verify_without(&key).await;
        assert!(!well && found(&said, &key), "{key}: {said}");
    }
    // The last commit and the end of an open lane: nothing says that they were there.
    let (said, well) = rig.verify_without(&lane_key(rig.second, LaneNumber(0))).await;
    assert!(well, "{said}");
}

#[tokio::test]
async fn an_object_in_anothers_place_is_found() {
    let rig = Rig::new(0).await;
    let copy = |from: &str, to: &str| {
        std::fs::copy(rig.path().join(from), rig.path().join(to)).unwrap();
    };
    let (zero, one) = (lane_key(rig.first, LaneNumber(0)), lane_key(rig.first, LaneNumber(1)));
    copy(&zero, &one);
    let (said, well) = rig.verify().await;
    assert!(!well && found(&said, &one), "{said}");

    let rig = Rig::new(0).await;
    // The same numbers of another journal: whole, and of no use here.
    let other = Rig::new(3).await;
    std::fs::copy(other.path().join(commit_key(3)), rig.path().join(commit_key(3))).unwrap();
    let (said, well) = rig.verify().await;
    assert!(!well && found(&said, &commit_key(3)), "{said}");
}

#[tokio::test]
async fn a_snapshot_is_held_against_the_log() {
    let rig = Rig::new(260).await;
    let (said, well) = rig.verify().await;
    assert!(well && said.contains(" 2 snapshots, "), "{said}");
    let bucket = Bucket::open(&rig.path().display().to_string(), None).unwrap();
    let numbers = journal::snapshot_numbers(&bucket).await.unwrap();
    assert_eq!(numbers[0], 0);

    let chunk = snapshot_key(numbers[1], "000000");
    let (said, well) = rig.verify_flipped(&chunk, 40).await;
    assert!(!well && found(&said, &chunk), "{said}");
    let (said, well) = rig.verify_without(&snapshot_key(numbers[1], "manifest")).await;
    assert!(!well && found(&said, &snapshot_key(numbers[1], "manifest")), "{said}");

    // The log before the newest snapshot may go only with a boundary.
    let (said, well) = rig.verify_without(&commit_key(100)).await;
    assert!(!well && found(&said, &commit_key(100)), "{said}");
}

#[tokio::test]
async fn what_is_no_bucket_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let storage = dir.path().display().to_string();
    let config = BrokerConfig::read([("storage", storage.as_str())].into_iter()).unwrap();
    for command in [StorageCommand::Verify { json: true }, StorageCommand::Image { at: None, json: false }] {
        let error = run(&config, &command, &mut Vec::new()).await.unwrap_err().to_string();
        assert!(error.contains("holds no journal"), "{error}");
    }
}

#[test]
fn lies_about_records_are_found_though_all_checksums_are_right() {
    use s3stream::ids::Nonce;
    use s3stream::object::{ObjectBuilder, ObjectHeader, ObjectKind};
    use s3stream::wal::chunk::ChunkPool;

    let lane_id = LaneId { incarnation: Incarnation { seq: 1, index: 0 }, nonce: Nonce(9) };
    let batch = |base: i64, epoch: i32| {
        BatchBuilder::new()
            .base_offset(base)
            .leader_epoch(epoch)
            .producer(7, 0, 0)
            .append(5, None, Some(b"x"), &[])
            .build()
    };
    // What is stored as offset 4 of epoch 1 with timestamp 5, and what is said of it.
    let judge = |batch: Bytes, end: u64, attached: Option<u64>| {
        let header = ObjectHeader::new(ObjectKind::Wal, lane_id, 0, Nonce(1));
        let mut builder = ObjectBuilder::new(header, ChunkPool::new(0), 200, 2);
        builder.append(StreamId(1), StreamEpoch(1), 4, end, 5, &[&batch]);
        if let Some(offset) = attached {
            let header = *Batch::parse(batch.clone()).unwrap().header();
            let attachment = ProducerAttachment::of(&header).unwrap().encode();
            builder.attach(StreamId(1), StreamEpoch(1), offset, &attachment);
        }
        let object = builder.finish();
        let bytes: Vec<u8> = object.put_payload().iter().flat_map(|b| b.to_vec()).collect();
        let whole = lane::open(lane_id, LaneNumber(0), bytes.into()).unwrap();
        let problems: Vec<String> = lane::blocks(&whole).into_iter().flat_map(|b| b.problems).collect();
        problems.join("; ")
    };
    assert_eq!(judge(batch(4, 1), 5, Some(4)), "");
    assert!(judge(batch(3, 1), 5, Some(4)).contains("a batch of offset 3 stands where 4 belongs"));
    assert!(judge(batch(4, 2), 5, Some(4)).contains("has leader epoch 2, its block 1"));
    assert!(judge(batch(4, 1), 7, Some(4)).contains("end at offset 5, the index says 7"));
    assert!(judge(batch(4, 1), 5, None).contains("the idempotent batch at offset 4 has no attachment"));
    let mut damaged = batch(4, 1).to_vec();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    assert!(judge(damaged.into(), 5, Some(4)).to_lowercase().contains("crc"));
}
