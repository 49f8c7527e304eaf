//! kafka-protocol's structs to and from `message.rs`, per API and version.
