//! Which file systems a store may live on. Pure: the magic number of statfs(2) in, a verdict out.
//!
//! A network file system may say "absent" of what another machine created (stale negative lookups, which break the
//! journal's reading of absences, SAFETY F1), may apply an exclusive create twice, and may flush to a cache: refused.

/// May a store live here?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A local file system whose rename and flush we know.
    Good(&'static str),
    /// Works, with a caveat to be logged.
    Doubtful(&'static str),
    /// Not safe.
    Network(&'static str),
}

/// Judges by linux/magic.h and the file systems' own headers.
pub(crate) fn judge(magic: u32) -> Verdict {
    use Verdict::*;
    match magic {
        0x0000_ef53 => Good("ext4"),
        0x5846_5342 => Good("xfs"),
        0x9123_683e => Good("btrfs"),
        0x2fc1_2fc1 => Good("zfs"),
        0xf2f5_2010 => Good("f2fs"),
        0xca45_1a4e => Good("bcachefs"),
        0x794c_7630 => Good("overlayfs"),
        0x0102_1994 => Doubtful("tmpfs: everything is lost when the machine stops"),
        0x8584_58f6 => Doubtful("ramfs: everything is lost when the machine stops"),
        0x6573_5546 => Doubtful("FUSE: only safe if it is local and flushes when told to"),
        0x0000_6969 => Network("NFS"),
        0x0000_517b | 0xff53_4d42 | 0xfe53_4d42 => Network("SMB"),
        0x0102_1997 => Network("9P"),
        0x00c3_6400 => Network("CephFS"),
        0x0bd0_0bd0 => Network("Lustre"),
        0x4750_4653 => Network("GPFS"),
        0x5346_414f | 0x6b41_4653 => Network("AFS"),
        0x7375_7245 => Network("Coda"),
        0x0000_564c => Network("NCP"),
        0x7461_636f => Network("OCFS2"),
        0x0116_1970 => Network("GFS2"),
        0x786f_4256 => Network("VirtualBox shared folder"),
        0xbacb_acbc => Network("VMware shared folder"),
        _ => Doubtful("an unknown file system: only safe if it is local and flushes when told to"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_refused_and_strangers_doubted() {
        assert_eq!(judge(0x6969), Verdict::Network("NFS"));
        assert_eq!(judge(0xff53_4d42), Verdict::Network("SMB"));
        assert_eq!(judge(0xef53), Verdict::Good("ext4"));
        assert!(matches!(judge(0x1234_5678), Verdict::Doubtful(_)));
    }
}
