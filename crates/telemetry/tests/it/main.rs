//! The telemetry of a whole process: export to a collector, the operators' endpoint, the watchdog.
//! Each test that changes the process runs it again as a child, so that tests don't meet.

mod child;
mod endpoint;
mod export;
mod logs;
mod watchdog;
