//! How often all endpoints are looked at: often, and at once when somebody wants it, but with very many of them only so
//! often that requests keep most of the machine.

use std::time::Duration;

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

const TICK: Duration = Duration::from_millis(100);
/// Looking may take one part of so many of one processor.
const PARTS: u32 = 10;

/// When the next pass over all endpoints begins.
#[derive(Debug)]
pub struct Pace {
    /// Whatever is wanted until then is had by one pass.
    rests_until: Instant,
    /// When it comes unasked.
    due: Instant,
}

impl Pace {
    /// The first pass comes at once.
    #[must_use]
    pub fn start() -> Self {
        let now = Instant::now();
        Self {
            rests_until: now,
            due: now,
        }
    }

    /// Waits for the next pass.
    pub async fn next(&self, wanted: &Notify) {
        sleep_until(self.rests_until).await;
        tokio::select! {
            biased;
            () = wanted.notified() => {}
            () = sleep_until(self.due) => {}
        }
    }

    /// A pass that took so long has ended.
    pub fn passed(&mut self, took: Duration) {
        let now = Instant::now();
        self.rests_until = now + took * (PARTS - 1);
        self.due = self.rests_until.max(now + TICK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// How long the pause after a pass is, to the timer's millisecond.
    async fn pause(pace: &mut Pace, took: Duration, wanted: &Notify) -> u128 {
        pace.passed(took);
        let ended = Instant::now();
        pace.next(wanted).await;
        (ended.elapsed() + ms(1)).as_millis() / 5 * 5
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_comes_at_once_a_short_one_ten_times_a_second_and_a_long_one_takes_a_tenth() {
        let (mut pace, wanted) = (Pace::start(), Notify::new());
        let begun = Instant::now();
        pace.next(&wanted).await;
        assert!(begun.elapsed() < ms(5));
        assert_eq!(pause(&mut pace, ms(1), &wanted).await, 100);
        assert_eq!(pause(&mut pace, ms(30), &wanted).await, 270);
    }

    #[tokio::test(start_paused = true)]
    async fn who_wants_one_gets_it_at_once_but_for_the_rest_after_the_last() {
        let (mut pace, wanted) = (Pace::start(), Notify::new());
        wanted.notify_one();
        assert_eq!(pause(&mut pace, ms(0), &wanted).await, 0);
        wanted.notify_one();
        assert_eq!(pause(&mut pace, ms(5), &wanted).await, 45);
        assert_eq!(pause(&mut pace, ms(0), &wanted).await, 100, "it was had");
    }

    #[tokio::test(start_paused = true)]
    async fn passes_that_are_wanted_all_the_time_take_a_tenth_of_it() {
        let (mut pace, wanted) = (Pace::start(), Notify::new());
        let wanting = async {
            loop {
                wanted.notify_one();
                tokio::time::sleep(ms(3)).await;
            }
        };
        let passing = async {
            let begun = Instant::now();
            for _ in 0..10 {
                pace.next(&wanted).await;
                tokio::time::sleep(ms(30)).await;
                pace.passed(ms(30));
            }
            begun.elapsed()
        };
        tokio::select! {
            () = wanting => {}
            all = passing => assert!(all >= ms(10 * 30 + 9 * 270), "{all:?}"),
        }
    }
}
