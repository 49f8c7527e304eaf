//! Objects whose ranges somebody in this process is about to replace. Merging leaves them alone meanwhile: what it wrote would
//! be replaced at once, and the ranges it replaced would make the other's work void.
//!
//! A courtesy between tasks of one process, nothing more: what is legal the journal decides, and who has too many objects merges
//! them all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::ids::ObjectId;

/// The objects that are claimed, and how often. Cheap to clone; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Claims(Arc<Mutex<BTreeMap<ObjectId, usize>>>);

/// Holds its objects until it is dropped.
#[derive(Debug)]
pub struct Claim {
    claims: Claims,
    objects: BTreeSet<ObjectId>,
}

impl Claims {
    /// Claims objects. Others may have claimed them too.
    pub fn claim(&self, objects: impl IntoIterator<Item = ObjectId>) -> Claim {
        let objects: BTreeSet<ObjectId> = objects.into_iter().collect();
        let mut claimed = self.0.lock();
        for object in &objects {
            *claimed.entry(*object).or_default() += 1;
        }
        drop(claimed);
        Claim { claims: self.clone(), objects }
    }

    /// What is claimed now.
    pub fn claimed(&self) -> BTreeSet<ObjectId> {
        self.0.lock().keys().copied().collect()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claimed = self.claims.0.lock();
        for object in &self.objects {
            if let Some(times) = claimed.get_mut(object) {
                *times -= 1;
                if *times == 0 {
                    claimed.remove(object);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Incarnation;

    #[test]
    fn an_object_is_claimed_as_long_as_anybody_claims_it() {
        let object = |counter| ObjectId { incarnation: Incarnation { seq: 1, index: 0 }, counter };
        let claims = Claims::default();
        // Twice by one claim is once.
        let first = claims.claim([object(1), object(2), object(1)]);
        let second = claims.clone().claim([object(2), object(3)]);
        assert_eq!(claims.claimed(), BTreeSet::from([object(1), object(2), object(3)]));
        drop(first);
        assert_eq!(claims.claimed(), BTreeSet::from([object(2), object(3)]));
        drop(second);
        assert!(claims.claimed().is_empty());
    }
}
