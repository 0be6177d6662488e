//! The wire format as a promise: what older builds send is read by this one.

mod samples;
