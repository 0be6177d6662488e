//! How often all endpoints are looked at: often, but with very many of them only so often that requests keep
//! most of the machine.

use std::time::Duration;

const TICK: Duration = Duration::from_millis(100);
/// Looking may take one part of so many of one processor.
const PARTS: u32 = 10;

/// The pause after a pass over all endpoints. Who changes something wakes the next pass.
pub fn pause_after(pass: Duration) -> Duration {
    TICK.max(pass * (PARTS - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_pass_comes_ten_times_a_second_and_a_long_one_takes_a_tenth_of_the_time() {
        let ms = Duration::from_millis;
        assert_eq!(pause_after(ms(1)), ms(100));
        assert_eq!(pause_after(ms(30)), ms(270));
    }
}
