//! How many commands a connection may give in a second.

use tokio::time::Instant;

/// A connection's commands, against the limit. It may save up those of one second.
#[derive(Debug)]
pub struct Budget {
    per_second: f64,
    /// What it may still give; below 0, what it gave beyond that.
    left: f64,
    at: Instant,
}

/// What is to be done with a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spending {
    /// It is within the budget.
    Within,
    /// It is not: refuse it. Refused commands count, too.
    Over,
    /// Neither were as many before it as a whole second may have: its peer does not listen.
    FarOver,
}

impl Budget {
    /// Of that many in each second.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second);
        Self {
            per_second,
            left: per_second,
            at: Instant::now(),
        }
    }

    /// How many there are for a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.per_second
    }

    /// Counts one command.
    pub fn spend(&mut self) -> Spending {
        let now = Instant::now();
        let earned = (now - self.at).as_secs_f64() * self.per_second;
        self.at = now;
        self.left = (self.left + earned).min(self.per_second) - 1.0;
        if self.left >= 0.0 {
            Spending::Within
        } else if self.left >= -self.per_second {
            Spending::Over
        } else {
            Spending::FarOver
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn spend(budget: &mut Budget, count: usize) -> Vec<Spending> {
        (0..count).map(|_| budget.spend()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_of_commands_may_come_at_once_and_no_more() {
        let mut budget = Budget::new(3);
        assert_eq!(spend(&mut budget, 3), [Spending::Within; 3]);
        assert_eq!(spend(&mut budget, 3), [Spending::Over; 3]);
        assert_eq!(spend(&mut budget, 1), [Spending::FarOver]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_may_go_on_and_saves_up_no_more_than_a_second() {
        let mut budget = Budget::new(4);
        spend(&mut budget, 5);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(budget.spend(), Spending::Within);
        assert_eq!(budget.spend(), Spending::Over);
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(spend(&mut budget, 4), [Spending::Within; 4]);
        assert_eq!(budget.spend(), Spending::Over);
    }
}
