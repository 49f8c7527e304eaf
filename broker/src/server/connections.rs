//! How many may be connected, and how fast they may come: `max.connections`, of all listeners and of each (KIP-402),
//! `max.connections.per.ip` and its overrides (KIP-48), `max.connection.creation.rate` (KIP-612); all may change at any time.
//!
//! As in Kafka, a connection above a limit of listeners waits to be accepted, one above a limit of its address is accepted
//! and closed at once, and those that come too fast are accepted later.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::live::Live;

/// Who is connected.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    counts: Mutex<Counts>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Counts {
    all: i32,
    by_listener: HashMap<Arc<str>, i32>,
    by_address: HashMap<IpAddr, i32>,
    paces: HashMap<Option<Arc<str>>, Pace>,
}

/// A connection that is counted until this is dropped.
#[derive(Debug)]
pub struct Counted {
    shared: Arc<Shared>,
    listener: Arc<str>,
    address: IpAddr,
}

impl Connections {
    /// Waits until a listener may accept one more. Cancel-safe. `live` is asked again whenever something changes.
    pub async fn room(&self, listener: &Arc<str>, live: impl Fn() -> Arc<Live>) {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that a change between the two is not lost.
            changed.as_mut().enable();
            let live = live();
            let wait = {
                let mut counts = self.shared.counts.lock();
                match counts.may_accept(listener, &live) {
                    false => None,
                    true => counts.pace(listener, &live, Instant::now()),
                }
            };
            match wait {
                Some(Duration::ZERO) => return,
                // A rate that was raised meanwhile counts at once.
                Some(wait) => drop(tokio::time::timeout(wait, changed).await),
                None => changed.await,
            }
        }
    }

    /// Counts a connection; None if its address has too many.
    pub fn count(&self, listener: &Arc<str>, address: IpAddr, live: &Live) -> Option<Counted> {
        let address = address.to_canonical();
        let mut counts = self.shared.counts.lock();
        let most = live.connections_max_per_ip(&address.to_string());
        let of_address = counts.by_address.entry(address).or_default();
        if *of_address >= most {
            if *of_address == 0 {
                counts.by_address.remove(&address);
            }
            return None;
        }
        *of_address += 1;
        counts.all += 1;
        *counts.by_listener.entry(listener.clone()).or_default() += 1;
        Some(Counted { shared: self.shared.clone(), listener: listener.clone(), address })
    }

    /// The limits may be others now.
    pub fn limits_changed(&self) {
        self.shared.changed.notify_waiters();
    }

    /// How many there are.
    pub fn total(&self) -> i32 {
        self.shared.counts.lock().all
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.shared.counts.lock();
        counts.all -= 1;
        if let Some(of_listener) = counts.by_listener.get_mut(&self.listener) {
            *of_listener -= 1;
        }
        if let Some(of_address) = counts.by_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                counts.by_address.remove(&self.address);
            }
        }
        drop(counts);
        self.shared.changed.notify_waiters();
    }
}

impl Counts {
    fn may_accept(&self, listener: &Arc<str>, live: &Live) -> bool {
        let of_listener = self.by_listener.get(listener).copied().unwrap_or_default();
        self.all < live.connections_max()
            && live.connections_max_of(listener).is_none_or(|most| of_listener < most)
    }

    /// How long the next connection has to wait: nothing if it may come, and then it is taken as having come.
    fn pace(&mut self, listener: &Arc<str>, live: &Live, now: Instant) -> Option<Duration> {
        let rates = [
            (None, Some(live.creation_rate_max())),
            (Some(listener.clone()), live.creation_rate_max_of(listener)),
        ];
        let rates = rates.into_iter().filter_map(|(of, rate)| Some((of, rate.filter(|r| *r < i32::MAX)?)));
        let rates: Vec<(Option<Arc<str>>, i32)> = rates.collect();
        let wait = |(of, rate): &(Option<Arc<str>>, i32)| self.paces.get(of).map(|p| p.wait(*rate, now));
        let wait = rates.iter().filter_map(wait).max().unwrap_or_default();
        if wait.is_zero() {
            for (of, rate) in rates {
                self.paces.entry(of).or_insert(Pace { left: f64::from(rate), at: now }).take(rate, now);
            }
        }
        Some(wait)
    }
}

/// A bucket that holds a second's worth of connections.
#[derive(Clone, Copy, Debug)]
struct Pace {
    left: f64,
    at: Instant,
}

impl Pace {
    fn filled(&self, rate: i32, now: Instant) -> f64 {
        let rate = f64::from(rate.max(1));
        (self.left + now.saturating_duration_since(self.at).as_secs_f64() * rate).min(rate)
    }

    fn wait(&self, rate: i32, now: Instant) -> Duration {
        let lacking = 1.0 - self.filled(rate, now);
        if lacking <= 0.0 {
            Duration::ZERO
        } else {
            Duration::from_secs_f64(lacking / f64::from(rate.max(1)))
        }
    }

    fn take(&mut self, rate: i32, now: Instant) {
        *self = Pace { left: self.filled(rate, now) - 1.0, at: now };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BrokerConfig;

    fn live(settings: &[(&str, &str)]) -> Arc<Live> {
        let layer = settings.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Arc::new(Live::new(&BrokerConfig::default(), &layer, &Default::default()))
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_above_the_limit_waits_until_one_goes_or_the_limit_grows() {
        let connections = Connections::default();
        let listener: Arc<str> = "PLAINTEXT".into();
        let limit = Arc::new(Mutex::new(live(&[("listener.name.plaintext.max.connections", "1")])));
        let now = || limit.lock().clone();
        connections.room(&listener, now).await;
        let first = connections.count(&listener, address(1), &now()).unwrap();
        let blocked = tokio::time::timeout(Duration::from_secs(1), connections.room(&listener, now)).await;
        assert!(blocked.is_err(), "the listener is full");
        connections.room(&"OTHER".into(), now).await;

        let waiting = connections.room(&listener, now);
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(first);
        waiting.await;

        let _second = connections.count(&listener, address(1), &now()).unwrap();
        let waiting = connections.room(&listener, now);
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        *limit.lock() = live(&[]);
        connections.limits_changed();
        waiting.await;
        assert_eq!(connections.total(), 1);
    }

    #[test]
    fn an_address_has_its_own_limit() {
        let connections = Connections::default();
        let listener: Arc<str> = "PLAINTEXT".into();
        let live =
            live(&[("max.connections.per.ip", "1"), ("max.connections.per.ip.overrides", "10.0.0.2:0")]);
        let first = connections.count(&listener, address(1), &live);
        assert!(first.is_some());
        assert!(connections.count(&listener, address(1), &live).is_none());
        assert!(connections.count(&listener, address(2), &live).is_none());
        drop(first);
        assert!(connections.count(&listener, address(1), &live).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn connections_come_no_faster_than_they_may() {
        let connections = Connections::default();
        let listener: Arc<str> = "PLAINTEXT".into();
        let live = live(&[("max.connection.creation.rate", "10")]);
        let began = Instant::now();
        for _ in 0..30 {
            connections.room(&listener, || live.clone()).await;
        }
        let took = began.elapsed();
        assert!((1_900..2_100).contains(&took.as_millis()), "{took:?}: ten at once, then ten a second");
    }
}
