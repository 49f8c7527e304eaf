//! What may be asked on the command line. Flags are only the keys that a first start needs; `--set` reaches every other,
//! so that no key has to be documented here a second time.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "aquifer",
    version,
    about = "A Kafka-compatible broker whose log lives in object storage.",
    long_about = "A Kafka-compatible broker whose log lives in object storage.\n\n\
                  Without a subcommand it serves: by default on 127.0.0.1:9092, with its log under ./aquifer-data.",
    after_help = "Every key of the configuration may be given, weakest first: in a properties file (--config), in the \
                  environment (AQUIFER_NUM_PARTITIONS=3), or as --set num.partitions=3. Named flags win over all.\n\
                  `aquifer config` prints the keys. RUST_LOG=debug says more.",
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    /// How to serve.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What else there is.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print every key of the configuration: type, default, meaning.
    Config {
        /// As the page docs/configuration.md.
        #[arg(long)]
        markdown: bool,
    },
    /// Look into a bucket: offline, read-only.
    #[command(
        long_about = "Look into a bucket: offline and read-only. A broker may be running on it meanwhile: what is being \
                      written then may show as missing at the end of the journal or of a lane, never as damage."
    )]
    Storage {
        /// Where the bucket is.
        #[command(flatten)]
        store: StoreArgs,
        /// What to do with it.
        #[command(subcommand)]
        command: StorageCommand,
    },
}

/// What can be done with a bucket.
#[derive(Debug, Subcommand)]
pub enum StorageCommand {
    /// What is in it, by area, with counts and bytes.
    Ls {
        /// Every key, with its bytes.
        #[arg(long)]
        all: bool,
        /// Only keys that begin so, e.g. meta/log/.
        #[arg(long, default_value = "")]
        prefix: String,
        /// One JSON object instead of lines.
        #[arg(long)]
        json: bool,
    },
    /// Decode one object: a commit, a snapshot's manifest or chunk, a boundary, an object or the seal of a lane, an
    /// object of data/.
    Dump {
        /// Its key, as ls --all prints it.
        key: String,
    },
    /// Check everything: chain and checksums of the journal, snapshots against the log, every object of every lane, seals,
    /// every object of data/ and what streams have in it.
    ///
    /// Prints a line `FOUND <key>: <what>` for each thing that is wrong. Exit code 1 if there is any.
    Verify {
        /// One JSON object, at the end, instead of lines.
        #[arg(long)]
        json: bool,
    },
    /// The cluster's metadata: topics, partitions, streams, lanes, brokers, configuration.
    Image {
        /// After this commit; without it, after the last.
        #[arg(long, value_name = "SEQ")]
        at: Option<u64>,
        /// One JSON object instead of lines.
        #[arg(long)]
        json: bool,
    },
}

/// Flags of a broker.
#[derive(Clone, Debug, Default, Args)]
pub struct ServeArgs {
    /// Where the bucket is.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Where clients are served: PLAINTEXT://host:port, several by commas; port 0 takes a free one
    /// [default: PLAINTEXT://127.0.0.1:9092].
    #[arg(long, value_name = "LIST")]
    pub listeners: Option<String>,
    /// What clients are told to connect to, as PLAINTEXT://host:port [default: the listeners].
    #[arg(long, value_name = "LIST")]
    pub advertised_listeners: Option<String>,
    /// This broker's id, from 0 [default: 0].
    #[arg(long, value_name = "ID")]
    pub node_id: Option<i32>,
}

/// Flags that say where the bucket is. After any subcommand of `storage`, too.
#[derive(Clone, Debug, Default, Args)]
pub struct StoreArgs {
    /// The bucket: a directory, file:///dir, s3://bucket/root, gs://bucket/root, az://container/root or memory://
    /// [default: ./aquifer-data]. S3 takes credentials, region and endpoint from AWS_*, or
    /// ?endpoint=http://127.0.0.1:9000&region=us-east-1 in the URL.
    #[arg(long, value_name = "URL", global = true)]
    pub storage: Option<String>,
    /// A second, faster store for write-ahead objects [default: the bucket].
    #[arg(long, value_name = "URL", global = true)]
    pub wal_storage: Option<String>,
    /// A properties file with Kafka's names.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Any key of the configuration; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", global = true)]
    pub set: Vec<String>,
}

impl ServeArgs {
    /// The named flags that were given, by key.
    pub fn flags(&self) -> Vec<(&'static str, String)> {
        let node_id = self.node_id.map(|id| id.to_string());
        let rest = [
            ("listeners", &self.listeners),
            ("advertised.listeners", &self.advertised_listeners),
            ("node.id", &node_id),
        ];
        let rest = rest.into_iter().filter_map(|(key, value)| Some((key, value.clone()?)));
        self.store.flags().into_iter().chain(rest).collect()
    }
}

impl StoreArgs {
    /// The named flags that were given, by key.
    pub fn flags(&self) -> Vec<(&'static str, String)> {
        let all = [("storage", &self.storage), ("wal.storage", &self.wal_storage)];
        all.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound_and_help_names_every_flag() {
        Cli::command().debug_assert();
        let help = Cli::command().render_long_help().to_string();
        for flag in [
            "--storage <URL>",
            "--wal-storage <URL>",
            "--listeners <LIST>",
            "--advertised-listeners <LIST>",
            "--node-id <ID>",
            "--config <FILE>",
            "--set <KEY=VALUE>",
            "--version",
            "AQUIFER_",
        ] {
            assert!(help.contains(flag), "{flag} is not in\n{help}");
        }
    }

    #[test]
    fn where_the_bucket_is_may_be_said_before_and_after_what_to_do() {
        for line in [
            ["aquifer", "storage", "--storage", "s3://b", "verify"],
            ["aquifer", "storage", "verify", "--storage", "s3://b"],
        ] {
            let cli = Cli::try_parse_from(line).unwrap();
            let Some(Command::Storage { store, command: StorageCommand::Verify { json: false } }) =
                cli.command
            else {
                panic!("{:?}", cli.command)
            };
            assert_eq!(store.flags(), [("storage", "s3://b".to_string())]);
        }
    }

    #[test]
    fn node_0_is_a_node_and_flags_become_keys() {
        let line = "aquifer --node-id 0 --wal-storage /fast --set a=1 --set b=2 --listeners PLAINTEXT://:0";
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let expected = [("wal.storage", "/fast"), ("listeners", "PLAINTEXT://:0"), ("node.id", "0")];
        assert_eq!(cli.serve.flags(), expected.map(|(k, v)| (k, v.to_string())));
        assert_eq!(cli.serve.store.set, ["a=1", "b=2"]);
    }
}
