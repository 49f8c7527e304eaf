//! Puts the objects of a section as they become full. Part of the shell.

use protocol::record_batch::BatchHeader;
use s3stream::catalog::{NewObject, ObjectPart, StreamRange};
use s3stream::ids::{ObjectId, StreamId};
use s3stream::object::ObjectKind;
use s3stream::rewrite::{RewriteError, Rewriter};
use s3stream::upload::InWork;

use super::filter::Filtered;
use super::section::{SectionError, SectionWriter, Written};

/// Why a section is not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteFailed {
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    #[error(transparent)]
    Section(#[from] SectionError),
}

/// Objects with their parts, as the record has them.
type Objects = Vec<(NewObject, Vec<ObjectPart>)>;

/// The objects of one section: put when they are full.
pub(super) struct Output<'a> {
    objects: &'a Rewriter,
    object_bytes: u64,
    writer: SectionWriter,
    /// Of the object at hand.
    id: ObjectId,
    /// Held until the record has its outcome: ids in work are not released.
    in_work: Vec<InWork>,
    put: Objects,
}

impl<'a> Output<'a> {
    /// In place of some consecutive ranges of a stream; an object ends when it has `object_bytes`.
    pub(super) fn begin(
        objects: &'a Rewriter,
        stream: StreamId,
        ranges: &[StreamRange],
        object_bytes: u64,
    ) -> Output<'a> {
        let (id, work, composer) = objects.begin(ObjectKind::Stream);
        let writer = SectionWriter::new(stream, ranges, composer);
        Output { objects, object_bytes, writer, id, in_work: vec![work], put: Vec::new() }
    }

    /// Takes what stays of a batch.
    ///
    /// # Errors
    /// It does not fit, or the store did not take an object.
    pub(super) async fn push(
        &mut self,
        header: &BatchHeader,
        filtered: &Filtered,
    ) -> Result<(), WriteFailed> {
        self.writer.push(header, filtered)?;
        if self.writer.object_bytes() < self.object_bytes {
            return Ok(());
        }
        let (id, work, composer) = self.objects.begin(ObjectKind::Stream);
        self.in_work.push(work);
        let written = self.writer.cut(composer);
        let id = std::mem::replace(&mut self.id, id);
        put(self.objects, &mut self.put, id, written).await
    }

    /// See [`SectionWriter::is_unchanged`].
    pub(super) fn is_unchanged(&self, header: &BatchHeader, filtered: &Filtered) -> bool {
        self.writer.is_unchanged(header, filtered)
    }

    /// Did any batch change?
    pub(super) fn is_changed(&self) -> bool {
        self.writer.is_changed()
    }

    /// What the record is to say; the second is to be held until it has its outcome.
    ///
    /// # Errors
    /// Something of the ranges was not passed, or the store did not take an object.
    pub(super) async fn finish(mut self) -> Result<(Objects, Vec<InWork>), WriteFailed> {
        let written = self.writer.finish()?;
        put(self.objects, &mut self.put, self.id, written).await?;
        Ok((self.put, self.in_work))
    }
}

async fn put(
    objects: &Rewriter,
    all: &mut Objects,
    id: ObjectId,
    (composed, parts): Written,
) -> Result<(), WriteFailed> {
    if !parts.is_empty() {
        objects.put(id, &composed).await?;
        all.push((NewObject { id, store: objects.data_store, len: composed.len }, parts));
    }
    Ok(())
}
