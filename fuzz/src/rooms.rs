//! Any sequence of what can happen to a room, on both engines, against a model that is too plain to
//! be wrong: who is in it, what each is owed, what is remembered.

use std::time::Instant;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use slabcast::{
    fanout::{
        CatchUp, Dialect, Fanout, HistoryQuery, HistoryRefusal, Hub, Pace, Registry, Retired,
        Vacancy,
    },
    id::ClientId,
    outbox::SkipTo,
    publication::{PayloadKind, Publication},
};

use super::room_model::{Model, Owed};

#[path = "../../tests/fanout_suite/members.rs"]
mod members;

use members::{CURIOUS, Member, PATIENT, QUIET, Room};

const MEMBERS_MAX: usize = 6;
const OPERATIONS_MAX: usize = 200;

/// What is drawn from the input first.
#[derive(Debug, Arbitrary)]
struct Setup {
    is_hub: bool,
    history_size: u8,
    recovery_max: u8,
    lag_messages: u8,
    lag_bytes: u8,
    join_leave: bool,
}

#[derive(Debug, Arbitrary)]
enum Operation {
    Join {
        who: u8,
        is_curious: bool,
        missed: Missed,
    },
    Leave {
        who: u8,
    },
    /// Of somebody whose membership is over.
    LeaveAgain,
    Publish {
        lengths: [u8; 3],
        count: u8,
        skips_history: bool,
        is_patient: bool,
    },
    Take {
        who: u8,
        bytes: u16,
        skips_to_newest: bool,
    },
    TakeAll {
        who: u8,
        skips_to_newest: bool,
    },
    Stall {
        who: u8,
        is_stalled: bool,
    },
    History {
        limit: u8,
        since: Option<u8>,
        is_reverse: bool,
    },
    RemoveHistory,
    Tidy,
    RetireIfVacant,
}

#[derive(Debug, Arbitrary)]
enum Missed {
    Nothing,
    Recover { offset: u8, is_other_life: bool },
    Available { offset: u8 },
}

/// Takes `input` for a room and what happens to it.
pub fn run(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let Ok(setup) = Setup::arbitrary(&mut input) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        if setup.is_hub {
            Driver::<Hub>::new(&setup).drive(&mut input).await;
        } else {
            Driver::<Registry>::new(&setup).drive(&mut input).await;
        }
    });
}

struct Driver<F: Fanout> {
    room: Room<F>,
    model: Model,
    members: [Option<Member<F>>; MEMBERS_MAX],
    left: Vec<ClientId>,
    names: usize,
}

impl<F: Fanout> Driver<F> {
    fn new(setup: &Setup) -> Self {
        let history_size = usize::from(setup.history_size % 8);
        let recovery_max = usize::from(setup.recovery_max % 8);
        // No configuration may allow less; `config` holds that.
        let lag_messages = 16 + usize::from(setup.lag_messages % 16);
        let lag_bytes = 512 + 8 * usize::from(setup.lag_bytes);
        let room = Room::open(|config| {
            config.history_size = history_size;
            config.recovery_max = recovery_max;
            config.lag_messages = lag_messages;
            config.lag_bytes = lag_bytes;
            config.join_leave = setup.join_leave;
        });
        Self {
            room,
            model: Model::new(history_size, recovery_max, setup.join_leave),
            members: [const { None }; MEMBERS_MAX],
            left: Vec::new(),
            names: 0,
        }
    }

    async fn drive(&mut self, input: &mut Unstructured<'_>) {
        for _ in 0..OPERATIONS_MAX {
            if input.is_empty() {
                break;
            }
            let Ok(operation) = Operation::arbitrary(input) else {
                break;
            };
            self.carry_out(&operation).await;
            self.compare().await;
            if self.model.is_retired {
                self.is_closed().await;
                return;
            }
        }
        // In the end everybody gets what he is owed, and nothing is left.
        for who in 0..MEMBERS_MAX {
            self.take(who, usize::MAX, true);
            self.leave(who).await;
        }
        self.compare().await;
        assert_eq!(self.room.engine.status().await.feed_bytes, 0);
        assert!(self.room.engine.retire_if_deserted(), "nobody is there");
        self.is_closed().await;
    }

    async fn carry_out(&mut self, operation: &Operation) {
        let slot = |who: u8| usize::from(who) % MEMBERS_MAX;
        match *operation {
            Operation::Join {
                who,
                is_curious,
                ref missed,
            } => self.join(slot(who), is_curious, missed).await,
            Operation::Leave { who } => self.leave(slot(who)).await,
            Operation::LeaveAgain => {
                if let Some(id) = self.left.last() {
                    self.room.engine.leave(*id);
                }
            }
            Operation::Publish {
                lengths,
                count,
                skips_history,
                is_patient,
            } => {
                let lengths = &lengths[..=usize::from(count) % lengths.len()];
                self.publish(lengths, skips_history, is_patient).await;
            }
            Operation::Take {
                who,
                bytes,
                skips_to_newest,
            } => self.take(slot(who), bytes.into(), skips_to_newest),
            Operation::TakeAll {
                who,
                skips_to_newest,
            } => self.take(slot(who), usize::MAX, skips_to_newest),
            Operation::Stall { who, is_stalled } => {
                if let Some(member) = &mut self.members[slot(who)] {
                    member.outbox.set_stalled(is_stalled);
                }
            }
            Operation::History {
                limit,
                since,
                is_reverse,
            } => self.history(limit.into(), since, is_reverse).await,
            Operation::RemoveHistory => {
                let removed = self.room.engine.remove_history().await;
                assert_eq!(removed, self.model.remove_history());
            }
            Operation::Tidy => self.room.engine.tidy(Instant::now()).await,
            Operation::RetireIfVacant => {
                // The actor hears of who left when it is asked something.
                self.room.engine.status().await;
                let vacancy = self.room.engine.retire_if_vacant(Instant::now());
                assert_eq!(vacancy, self.model.retire_if_vacant());
                if vacancy == Vacancy::Occupied {
                    assert!(!self.room.engine.retire_if_deserted());
                }
            }
        }
    }

    async fn join(&mut self, slot: usize, is_curious: bool, missed: &Missed) {
        if self.members[slot].is_some() {
            return;
        }
        self.names += 1;
        let name = format!("m{}", self.names);
        let dialect: Dialect = if is_curious { CURIOUS } else { QUIET };
        let catch_up = match *missed {
            Missed::Nothing => CatchUp::Nothing,
            Missed::Recover {
                offset,
                is_other_life,
            } => CatchUp::Recover {
                epoch: if is_other_life { "another" } else { "" }.to_owned(),
                offset: offset.into(),
            },
            Missed::Available { offset } => CatchUp::Available {
                epoch: None,
                offset: offset.into(),
            },
        };
        let joined = self
            .room
            .join_and_catch_up(&name, dialect, catch_up.clone())
            .await;
        let (member, missed, position) = joined;
        let missed = missed.map(|kept| kept.iter().map(|kept| kept.offset).collect::<Vec<_>>());
        assert_eq!(missed, self.model.missed(&catch_up), "{catch_up:?}");
        let offset = position.map(|position| position.offset);
        assert_eq!(offset, self.model.offset());
        self.model.join(slot, &name, is_curious);
        self.members[slot] = Some(member);
    }

    async fn leave(&mut self, slot: usize) {
        let Some(mut member) = self.members[slot].take() else {
            return;
        };
        self.left
            .extend(member.membership.as_ref().map(|held| held.id()));
        member.leave();
        self.model.leave(slot);
        // Before anything else happens there.
        self.room.engine.status().await;
    }

    async fn publish(&mut self, lengths: &[u8], skips_history: bool, is_patient: bool) {
        let text = |length: &u8| "x".repeat(usize::from(*length) % 64);
        let texts: Vec<_> = lengths.iter().map(text).collect();
        let publication = |text: &String| Publication {
            skips_history,
            ..Publication::new(PayloadKind::Text, Bytes::from(text.clone()))
        };
        let mut batch: Vec<_> = texts.iter().map(publication).collect();
        let pace = if is_patient { PATIENT } else { Pace::Now };
        let receipt = self.room.engine.publish(&mut batch, pace).await.unwrap();
        let taken = texts.len() - batch.len();
        assert!(is_patient || batch.is_empty(), "all of it, now");
        for text in &texts[..taken] {
            self.model.publish(text, skips_history);
        }
        assert_eq!(receipt.members, self.model.members());
        let offset = receipt.position.map(|position| position.offset);
        assert_eq!(offset, self.model.offset());
    }

    /// Lets a member have what it is told about, and skip when it is too far behind.
    fn take(&mut self, slot: usize, bytes_max: usize, skips_to_newest: bool) {
        let (Some(member), Some(owed)) = (&mut self.members[slot], &mut self.model.owed[slot])
        else {
            return;
        };
        let to = if skips_to_newest {
            SkipTo::Newest
        } else {
            SkipTo::Oldest
        };
        // Behind a skip there is at most one more: nobody publishes meanwhile.
        for _ in 0..2 {
            let before = member.bytes.len();
            let taken = member.take(bytes_max);
            owed.had(&member.bytes[before..]);
            match taken {
                Ok(_) => {
                    assert!(bytes_max < usize::MAX || owed.is_empty(), "{owed:?}");
                    return;
                }
                Err(lag) => {
                    let skipped = member.outbox.skip(lag.key, to);
                    owed.skip(skipped);
                    self.model.skipped += skipped;
                }
            }
        }
        panic!("it lags again at once");
    }

    async fn history(&self, limit: usize, since: Option<u8>, is_reverse: bool) {
        let since = since.map(|offset| (String::new(), u64::from(offset)));
        let page = self.room.engine.history(HistoryQuery {
            limit,
            since: since.clone(),
            is_reverse,
        });
        let page: Result<Vec<_>, HistoryRefusal> = page.await.map(|page| {
            let payload = |payload: &Bytes| String::from_utf8(payload.to_vec()).unwrap();
            let kept = page.publications.iter();
            kept.map(|kept| (kept.offset, payload(&kept.publication.payload)))
                .collect()
        });
        let since = since.map(|(_, offset)| offset);
        assert_eq!(page, self.model.history(limit, since, is_reverse));
    }

    async fn compare(&self) {
        let status = self.room.engine.status().await;
        assert_eq!(status.clients, self.model.members());
        assert_eq!(status.offset, self.model.offset().unwrap_or(0));
        let mut present: Vec<_> = self.room.engine.presence().await;
        present.sort_by_key(|info| info.client.clone());
        let present: Vec<_> = present.iter().map(|info| info.client.to_string()).collect();
        assert_eq!(present, self.model.present());
        self.room.assert_accounts_balance().await;
        assert_eq!(self.room.deliveries.due.value(), self.model.due);
        assert_eq!(self.room.deliveries.skipped.value(), self.model.skipped);
        let pending: u64 = self.model.owed.iter().flatten().map(Owed::frames).sum();
        let held = status.pending + self.room.deliveries.in_transit.value();
        assert!(held >= pending, "{held} are held of {pending}");
    }

    /// Who comes too late is told so, and nothing happens.
    async fn is_closed(&self) {
        let mut batch = vec![members::publication("late")];
        let refused = self.room.engine.publish(&mut batch, Pace::Now).await;
        assert_eq!(refused.err(), Some(Retired));
        assert_eq!(batch.len(), 1);
        assert_eq!(self.room.engine.status().await.clients, 0);
    }
}
