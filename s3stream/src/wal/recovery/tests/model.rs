//! Random lives of a few brokers: what recovery finds is what was durable.

use super::*;

/// What brokers do in any order, against a list of what must be there.
#[derive(Clone, Debug)]
enum Deed {
    Append {
        stream: u64,
        count: u64,
    },
    Cut {
        broker: usize,
    },
    /// Flushes, then gives the stream away.
    Move {
        stream: u64,
        to: usize,
    },
    /// Loses what is not cut.
    Die {
        broker: usize,
    },
    Trim {
        stream: u64,
        part: u64,
    },
}

fn any_deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        10 => (0u64..4, 1u64..20).prop_map(|(stream, count)| Deed::Append { stream, count }),
        5 => (0usize..3).prop_map(|broker| Deed::Cut { broker }),
        2 => (0u64..4, 0usize..3).prop_map(|(stream, to)| Deed::Move { stream, to }),
        1 => (0usize..3).prop_map(|broker| Deed::Die { broker }),
        1 => (0u64..4, 0u64..100).prop_map(|(stream, part)| Deed::Trim { stream, part }),
    ]
}

/// Of one stream: what was cut (durable), and what was not yet.
#[derive(Clone, Debug, Default)]
struct Model {
    start: u64,
    durable: Vec<(u64, u64, String)>,
    pending: Vec<(u64, u64, String)>,
}

impl Model {
    fn end(&self) -> u64 {
        self.pending.last().or(self.durable.last()).map_or(0, |(_, end, _)| *end)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn whatever_brokers_do_recovery_finds_what_was_durable(deeds in prop::collection::vec(any_deed(), 1..80)) {
        let mut c = Cluster::new();
        let mut brokers = [c.join(), c.join_in(1), c.join()];
        let mut models: Vec<Model> = vec![Model::default(); 4];
        for stream in 0..4 {
            c.create(stream, brokers[stream as usize % 3]);
        }
        let owner = |c: &Cluster, stream: u64| c.catalog.stream(StreamId(stream)).unwrap().owner.seq;
        let cut = |c: &mut Cluster, models: &mut [Model], broker: u64| {
            if c.writers[&broker].appends.is_empty() {
                return;
            }
            c.cut(broker);
            for (stream, model) in models.iter_mut().enumerate() {
                if owner(c, stream as u64) == broker {
                    let pending = std::mem::take(&mut model.pending);
                    model.durable.extend(pending);
                }
            }
        };
        for deed in deeds {
            match deed {
                Deed::Append { stream, count } => {
                    let broker = owner(&c, stream);
                    let (base, epoch) = (models[stream as usize].end(), c.catalog.stream(StreamId(stream)).unwrap().epoch.0);
                    let end = base + count;
                    c.append(broker, stream, base, end);
                    models[stream as usize].pending.push((base, end, format!("{stream}/{epoch}:{base}-{end};")));
                }
                Deed::Cut { broker } => cut(&mut c, &mut models, brokers[broker]),
                Deed::Move { stream, to } => {
                    let from = owner(&c, stream);
                    if from == brokers[to] {
                        continue;
                    }
                    cut(&mut c, &mut models, from);
                    let below = c.writers[&from].number;
                    c.move_stream(stream, models[stream as usize].end(), below, brokers[to]);
                }
                Deed::Die { broker } => {
                    let (dead, heir) = (brokers[broker], c.join());
                    for (stream, model) in models.iter_mut().enumerate() {
                        if owner(&c, stream as u64) == dead {
                            model.pending.clear();
                        }
                    }
                    c.fence(dead, heir);
                    brokers[broker] = heir;
                }
                Deed::Trim { stream, part } => {
                    let model = &mut models[stream as usize];
                    let durable = model.durable.last().map_or(0, |(_, end, _)| *end);
                    model.start = model.start.max(durable * part / 100);
                    let start = model.start;
                    c.trim(stream, start);
                }
            }
        }
        for broker in brokers {
            let heir = c.join();
            c.fence(broker, heir);
        }
        let read = c.read().now_or_never().expect("memory does not wait");
        for (stream, model) in models.iter().enumerate() {
            let (index, text) = &read[&(stream as u64)];
            let durable = model.durable.last().map_or(0, |(_, end, _)| *end);
            prop_assert_eq!(index.end(), durable.max(model.start));
            // Blocks of one object are read whole: what is below the log start may come along.
            let expected: String = model.durable.iter().filter(|(_, end, _)| *end > model.start).map(|(.., text)| text.as_str()).collect();
            prop_assert!(text.ends_with(&expected), "{} does not end in {}", text, expected);
            let all: String = model.durable.iter().map(|(.., text)| text.as_str()).collect();
            prop_assert!(all.ends_with(text.as_str()), "{} is not the end of {}", text, all);
        }
    }
}
