//! Which messages were published under a key of their sender's, so that one who asks again, because
//! the answer was lost, does not publish again.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use crate::{
    history::Position,
    id::RoomName,
    protocol::{api::ApiError, centrifugo::ErrorCode},
    sync::Mutex,
};

/// How long a key is remembered; Centrifugo does it as long.
const REMEMBERED_FOR: Duration = Duration::from_secs(300);

/// Keys that are remembered at once: a thousand a second for as long as they are. They take up to
/// 60 MB then; ten times as many would be a way to fill the memory.
const KEYS_MAX: usize = 300_000;

/// Old keys that are forgotten for each new one: more than one, so that they run out, and few, so
/// that nobody waits while a burst is forgotten.
const FORGOTTEN_AT_ONCE: usize = 64;

/// What became of one publication; filled once. Whoever comes while it is being filled waits for it.
pub(super) type Outcome = Arc<OnceCell<Option<Position>>>;

/// The keys of the last minutes.
#[derive(Debug, Default)]
pub(in crate::http) struct Idempotency {
    /// Taken alone, for a look or a note.
    keys: Mutex<Keys>,
}

#[derive(Debug, Default)]
struct Keys {
    outcomes: HashMap<Fingerprint, (Outcome, Instant)>,
    /// The oldest first. One that was renewed since stands here twice.
    ages: VecDeque<(Instant, Fingerprint)>,
}

/// A room and a key, hashed, so that all take the same memory. Senders know the API key, and none
/// gains by a collision, which takes 2^64 tries to find.
type Fingerprint = [u8; 16];

impl Idempotency {
    /// What became, or is to become, of what is published in `room` under `key`.
    ///
    /// # Errors
    /// When so many keys are remembered that there is no place for another: forgetting one early
    /// would break what was promised for it.
    pub(super) fn outcome(
        &self,
        room: &RoomName,
        key: &str,
        now: Instant,
    ) -> Result<Outcome, ApiError> {
        let fingerprint = fingerprint(room, key);
        let mut keys = self.keys.lock();
        keys.forget_old(now);
        if let Some((outcome, since)) = keys.outcomes.get(&fingerprint)
            && now.duration_since(*since) < REMEMBERED_FOR
        {
            return Ok(outcome.clone());
        }
        if keys.outcomes.len() >= KEYS_MAX {
            let detail = format!(
                "{KEYS_MAX} idempotency keys of the last {} s are remembered, which is all there is \
                 place for: publish less often, or without idempotency_key",
                REMEMBERED_FOR.as_secs()
            );
            return Err(ApiError::new(ErrorCode::TooManyRequests, detail));
        }
        let outcome = Outcome::default();
        keys.outcomes.insert(fingerprint, (outcome.clone(), now));
        keys.ages.push_back((now, fingerprint));
        Ok(outcome)
    }
}

impl Keys {
    fn forget_old(&mut self, now: Instant) {
        for _ in 0..FORGOTTEN_AT_ONCE {
            let is_old = |(since, _): &(Instant, _)| now.duration_since(*since) >= REMEMBERED_FOR;
            let Some((since, fingerprint)) = self.ages.pop_front_if(|age| is_old(age)) else {
                return;
            };
            let is_renewed = |(_, renewed): &(Outcome, Instant)| *renewed != since;
            if !self.outcomes.get(&fingerprint).is_some_and(is_renewed) {
                self.outcomes.remove(&fingerprint);
            }
        }
    }
}

fn fingerprint(room: &RoomName, key: &str) -> Fingerprint {
    let hash = Sha256::new()
        // A name holds no control character, so this ends it.
        .chain_update(room.as_str())
        .chain_update([0])
        .chain_update(key)
        .finalize();
    std::array::from_fn(|index| hash[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_remembered_for_its_room_and_its_time() {
        let idempotency = Idempotency::default();
        let start = Instant::now();
        let outcome = |room, key, seconds| {
            let now = start + Duration::from_secs(seconds);
            let room = RoomName::parse(room).unwrap();
            idempotency.outcome(&room, key, now).unwrap()
        };
        let first = outcome("a", "k", 0);
        assert!(Arc::ptr_eq(&first, &outcome("a", "k", 299)));
        assert!(!Arc::ptr_eq(&first, &outcome("a", "l", 0)));
        assert!(!Arc::ptr_eq(&first, &outcome("b", "k", 0)));
        let second = outcome("a", "k", 300);
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(&second, &outcome("a", "k", 599)));
    }

    #[test]
    fn memory_is_bounded_and_comes_back() {
        let idempotency = Idempotency::default();
        let start = Instant::now();
        let room = RoomName::parse("a").unwrap();
        let outcome = |key: usize, now| idempotency.outcome(&room, &key.to_string(), now);
        for key in 0..KEYS_MAX {
            outcome(key, start).unwrap();
        }
        let refused = outcome(KEYS_MAX, start).unwrap_err();
        assert_eq!(refused.code, ErrorCode::TooManyRequests);
        assert!(outcome(0, start).is_ok(), "a known one needs no place");
        for key in 0..KEYS_MAX {
            outcome(KEYS_MAX + key, start + REMEMBERED_FOR).unwrap();
        }
        assert_eq!(idempotency.keys.lock().outcomes.len(), KEYS_MAX);
    }
}
