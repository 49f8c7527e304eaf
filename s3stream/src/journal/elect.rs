//! Candidacy: when a process that is not controller tries to be, and how.
//!
//! Order of things: watch the head stand still, by successful 404s on one's own monotonic clock, for the effective lease of
//! the image; wait a random while more, so that candidates do not all try at once; read once more; look; create the next
//! number with the election, and with the registration of a process that has none (DESIGN §3, SAFETY L7, L8). No step of
//! the waiting makes it safe: the create does. So a proven hint (`elect_now`) skips all of it.
//!
//! A new controller has no opinion about silence: `Office::elected_at` says from when its own may count (SAFETY L2).

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::commit::{JournalRecord, MutationId};
use super::draft::{Admitted, Draft};
use super::owner::{Attempt, Owner};
use super::{ElectError, Image, count};
use super::{Refusal, Stop};
use crate::ids::Incarnation;

/// Numbers that `elect_now` may lose to the old controller's late PUTs before it doubts its hint, and waits like all others.
const LOST_TO_THE_DEAD: u32 = 3;
/// Candidates over a controller that resigned try within so much of one another.
const VACANCY_JITTER: Duration = Duration::from_millis(50);

/// How a candidacy ends.
type Decision = Result<Incarnation, ElectError>;

/// One candidacy.
#[derive(Debug)]
pub(super) struct Campaign<I: Image> {
    registration: Vec<I::Record>,
    now: bool,
    reply: oneshot::Sender<Decision>,
    /// The image's controller when it began; None before its first turn.
    against: Option<Option<Incarnation>>,
    /// The head at which `try_at` was drawn.
    still_at: Option<u64>,
    try_at: Instant,
    lost: u32,
    /// When its next turn is.
    pub wake: Instant,
}

impl<I: Image> Campaign<I> {
    pub fn new(registration: Vec<I::Record>, now: bool, reply: oneshot::Sender<Decision>) -> Self {
        let at = Instant::now();
        Campaign { registration, now, reply, against: None, still_at: None, try_at: at, lost: 0, wake: at }
    }
}

impl<I: Image> Owner<I> {
    /// Takes up a candidacy; an earlier one of this process is withdrawn.
    pub(super) fn stand(&mut self, campaign: Campaign<I>) {
        if let Some(earlier) = self.campaign.replace(campaign) {
            let _ = earlier.reply.send(Err(ElectError::Withdrawn));
        }
    }

    /// One turn of the candidacy, if there is one.
    pub(super) async fn campaign_turn(&mut self) -> Result<(), Stop> {
        let Some(mut campaign) = self.campaign.take() else { return Ok(()) };
        if campaign.reply.is_closed() {
            return Ok(());
        }
        match self.campaign_step(&mut campaign).await {
            Ok(Some(decided)) => {
                let _ = campaign.reply.send(decided);
                Ok(())
            }
            Ok(None) => {
                self.campaign = Some(campaign);
                Ok(())
            }
            Err(stop) => {
                let _ = campaign.reply.send(Err(ElectError::Stopped(stop.clone())));
                Err(stop)
            }
        }
    }

    /// Decided, or one step nearer.
    async fn campaign_step(&mut self, campaign: &mut Campaign<I>) -> Result<Option<Decision>, Stop> {
        if campaign.against.is_none() {
            // Whoever stands first learns what is there: the image may be as old as the last poll.
            self.read_on().await?;
            campaign.against = Some(self.image.controller);
        }
        if let Some(decided) = self.decided(campaign) {
            return Ok(Some(decided));
        }
        if !self.may_try(campaign) {
            return Ok(None);
        }
        // The waiting was for liveness; what is acted upon is read and looked at now.
        let held = self.image.seq;
        self.read_on().await?;
        campaign.wake = Instant::now();
        if let Some(decided) = self.decided(campaign) {
            return Ok(Some(decided));
        }
        if self.image.seq != held && !campaign.now {
            return Ok(None);
        }
        // Whether it won, its next step finds by the image.
        Ok(self.try_election(campaign).await?.map(|refusal| Err(ElectError::Refused(refusal))))
    }

    fn decided(&self, campaign: &Campaign<I>) -> Option<Decision> {
        let controller = self.image.controller?;
        if self.me() == Some(controller) {
            return Some(Ok(controller));
        }
        let newly = campaign.against.is_some_and(|against| against != Some(controller));
        newly.then_some(Err(ElectError::LostTo(controller)))
    }

    /// Has it waited for what it must?
    fn may_try(&mut self, campaign: &mut Campaign<I>) -> bool {
        let now = Instant::now();
        if campaign.now && campaign.lost < LOST_TO_THE_DEAD {
            return true;
        }
        let lease = self.image.effective_lease();
        let (must_stand, spread) = match self.image.controller {
            None if self.image.seq == 0 => return true,
            None => (Duration::ZERO, VACANCY_JITTER),
            Some(_) => (lease, lease / 3),
        };
        if self.still() < must_stand {
            campaign.still_at = None;
            // The follower's polls measure the stillness.
            campaign.wake = now + self.poll_pause(true);
            self.wake = self.wake.min(campaign.wake);
            return false;
        }
        if campaign.still_at != Some(self.image.seq) {
            campaign.still_at = Some(self.image.seq);
            campaign.try_at = now + self.reader.env.entropy.jitter(spread);
        }
        campaign.wake = campaign.try_at;
        campaign.try_at <= now
    }

    async fn try_election(&mut self, campaign: &mut Campaign<I>) -> Result<Option<Refusal>, Stop> {
        let base = self.image.clone();
        let me = self.me();
        let (id, registration) = match me {
            Some(incarnation) => {
                (MutationId::Of { incarnation, counter: self.next_counter(incarnation) }, Vec::new())
            }
            None => {
                (MutationId::Registration { nonce: self.reader.shared.nonce }, campaign.registration.clone())
            }
        };
        let mut draft = Draft::new(&base, me);
        match draft.admit(id, &[JournalRecord::ControllerElected], &registration) {
            Admitted::Packed(_) => {}
            Admitted::Refused(refusal) => return Ok(Some(refusal)),
            // A nonce that was registered, and whose incarnation is not live any more: this process was superseded.
            Admitted::Repeat(at) => {
                return Ok(Some(Refusal::NotLive(Incarnation { seq: at.seq, index: at.index })));
            }
            Admitted::Full | Admitted::TooLarge => {
                return Ok(Some(Refusal::Own("a registration larger than a commit")));
            }
        }
        let commit = draft.seal(&base, self.reader.env.entropy.nonce(), self.p99_ms());
        let began = self.now();
        match self.attempt(&commit).await? {
            Attempt::Believed => {
                self.note_commit_time(Duration::from_millis(u64::from(base.p99_ms)));
                self.note_commit_time(self.now().saturating_sub(began));
                count(&self.reader.shared.counters.elections);
                tracing::info!(seq = commit.seq, over = ?base.controller, "elected");
            }
            Attempt::Lost | Attempt::History => campaign.lost += 1,
        }
        Ok(None)
    }
}
