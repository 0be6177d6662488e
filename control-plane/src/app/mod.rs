//! What people and programs may ask of the platform, without HTTP.
