//! The command line. [`args`] says what may be asked, [`settings`] (pure but for reading the file) what it means
//! together with file and environment, [`storage`] looks at a bucket offline. Serving itself is `crate::broker`.

pub mod args;
pub mod settings;
pub mod storage;
