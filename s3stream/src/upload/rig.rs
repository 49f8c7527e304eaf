//! A journal without a log, for the tests of storage's own tasks: what is proposed is applied at once, or refused, as what fits
//! no commit is. Streams have no state, and nobody wants to know what was uploaded.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use super::{CatalogJournal, Checkpoints, UploadSink};
use crate::block_ref::LaneTable;
use crate::budget::Budget;
use crate::cache::{ColdReads, Stores};
use crate::catalog::{Catalog, NewObject, ObjectPart, StorageRecord};
use crate::claims::Claims;
use crate::env::Env;
use crate::history::History;
use crate::ids::{Incarnation, LaneId, LaneNumber, Nonce, ObjectId, StoreId, StreamEpoch, StreamId};
use crate::journal::{COMMIT_BYTES_MAX, MutationPoint, Record};
use crate::object::{AttachmentEntry, BlockKind, IndexEntry, ObjectKind};
use crate::rewrite::Rewriter;
use crate::store::Store;

/// Who proposes, and its lane.
pub(crate) const ME: LaneId = LaneId { incarnation: Incarnation { seq: 1, index: 0 }, nonce: Nonce(1) };

/// A catalog, and the number of its last record.
#[derive(Debug)]
pub(crate) struct RigJournal(Mutex<(u64, Catalog)>);

impl RigJournal {
    /// Store 0, the lane of [`ME`] in it, and so many streams of its own.
    pub(crate) fn new(streams: u64) -> Arc<RigJournal> {
        let journal = RigJournal(Mutex::new((0, Catalog::new())));
        let LaneId { incarnation: owner, nonce } = ME;
        journal.apply(StorageRecord::StoreRegistered { store: StoreId(0), url: "memory://".into() });
        // An incarnation is the commit that registered it.
        journal.0.lock().0 = owner.seq - 1;
        journal.apply(StorageRecord::LaneRegistered { nonce, store: StoreId(0) });
        for stream in 0..streams {
            journal.apply(StorageRecord::StreamCreated { stream: StreamId(stream), owner });
        }
        Arc::new(journal)
    }

    pub(crate) fn apply(&self, record: StorageRecord) {
        self.try_apply(&record).unwrap_or_else(|illegal| panic!("{record:?}: {illegal}"));
    }

    fn try_apply(&self, record: &StorageRecord) -> Result<(), String> {
        let mut state = self.0.lock();
        state.0 += 1;
        let at = MutationPoint { seq: state.0, index: 0, proposer: Some(ME.incarnation), level: 4 };
        state.1.apply(at, record).map_err(|illegal| illegal.to_string())
    }

    /// An object that has the next ten records of a stream was uploaded.
    pub(crate) fn uploaded(&self, id: ObjectId, stream: StreamId, len: u64) {
        let (_, catalog) = self.catalog();
        let (incarnation, from) = (ME.incarnation, catalog.lane(ME.incarnation).unwrap().trim);
        let (epoch, start) = (StreamEpoch(0), catalog.stream(stream).unwrap().base);
        let (end, bytes, max_timestamp, checkpoint) = (start + 10, len, 0, false);
        let part = ObjectPart { stream, epoch, start, end, bytes, max_timestamp, checkpoint };
        let (object, trim) = (NewObject { id, store: StoreId(0), len }, LaneNumber(from.0 + 1));
        self.apply(StorageRecord::LaneUploaded { incarnation, from, trim, object, parts: vec![part] });
    }

    /// Who makes objects out of others by this journal, over one store.
    pub(crate) fn rewriter(
        self: &Arc<Self>,
        store: Arc<dyn Store>,
        cold: Arc<ColdReads>,
        budget: &Budget,
    ) -> Rewriter {
        let (env, stores) = (Env::seeded(1), Stores::new().with(StoreId(0), store));
        let tables = Arc::new(LaneTable::new());
        Rewriter {
            history: History::new(env.clone(), stores.clone(), tables.clone(), budget),
            env,
            data_store: StoreId(0),
            stores,
            tables,
            journal: self.clone(),
            counter: Arc::default(),
            me: ME,
            claims: Claims::default(),
            cold,
        }
    }

    /// Puts an object of the next ten records of a stream, one a block of `block_bytes`, and has it uploaded.
    pub(crate) async fn upload(&self, objects: &Rewriter, stream: StreamId, block_bytes: usize) -> ObjectId {
        let (id, _work, mut composer) = objects.begin(ObjectKind::Stream);
        let start = self.catalog().1.stream(stream).unwrap().base;
        for base in start..start + 10 {
            let bytes = Bytes::from(vec![base as u8; block_bytes]);
            let entry = IndexEntry {
                kind: BlockKind::Data,
                stream,
                epoch: StreamEpoch(0),
                base,
                end: base + 1,
                position: 0,
                length: block_bytes as u32,
                max_timestamp: 0,
                crc: crc32fast::hash(&bytes),
            };
            composer.data(&entry, bytes);
        }
        let composed = composer.finish();
        objects.put(id, &composed).await.unwrap();
        self.uploaded(id, stream, composed.len);
        id
    }
}

#[async_trait]
impl CatalogJournal for RigJournal {
    fn catalog(&self) -> (u64, Catalog) {
        self.0.lock().clone()
    }

    async fn propose(&self, records: Vec<StorageRecord>) -> Result<(), String> {
        let mut encoded = BytesMut::new();
        records.iter().for_each(|record| record.encode(&mut encoded));
        if encoded.len() > COMMIT_BYTES_MAX {
            return Err(format!("{} bytes", encoded.len()));
        }
        records.iter().try_for_each(|record| self.try_apply(record))
    }

    fn can_adopt(&self) -> bool {
        true
    }
}

impl Checkpoints for RigJournal {
    fn advance(&self, _: StreamId, _: Option<&Bytes>, _: &[AttachmentEntry]) -> Option<Bytes> {
        None
    }
}

impl UploadSink for RigJournal {
    fn uploaded(&self, _: &[(StreamId, u64)]) {}
}
