//! Every errno that a call may return, and who shows it.

use super::Shown::{self, By, Unseen};

pub const ERRNOS: &[(&str, &[(&str, Shown)])] = &[
    (
        "open",
        &[
            ("EACCES", By("errno/file/not-for-everybody")),
            ("EPERM", By("errno/file/not-for-nobody-whatever-its-mode")),
            ("ENOMEM", Unseen("it is 40 bytes, which Linux finds")),
        ],
    ),
    (
        "INITIALIZE",
        &[
            ("EFAULT", By("errno/initialize/arguments-unreadable")),
            ("EINVAL", By("errno/initialize/flags")),
            ("ENOENT", By("errno/initialize/not-again-after-death")),
            ("EPERM", By("errno/owner/after-fork")),
            ("EBUSY", By("errno/initialize/twice")),
            ("ENOSPC", By("errno/initialize/no-place")),
            ("ENOMEM", By("pair/a-cpu-that-came-to-nothing-comes-again")),
            ("EINTR", By("errno/initialize/signal")),
        ],
    ),
    (
        "GETDMA",
        &[
            ("EFAULT", By("errno/getdma/argument-unreadable")),
            (
                "EINVAL",
                By("errno/getdma/not-initialised-dead-or-not-ours"),
            ),
            ("ENOENT", By("errno/getdma/nothing-bound")),
            ("EPERM", By("errno/getdma/not-initialised-dead-or-not-ours")),
            ("EINTR", By("errno/getdma/signal")),
        ],
    ),
    (
        "IRQ",
        &[
            ("EFAULT", By("errno/write/irq")),
            ("EINVAL", By("errno/write/irq")),
            ("ENOENT", By("errno/write/dead")),
            ("EPERM", By("errno/owner/after-fork")),
        ],
    ),
    (
        "BREAK",
        &[
            ("EFAULT", By("errno/break/argument-unreadable")),
            ("EINVAL", By("errno/cpus/each-has-one-runner")),
            ("ENOENT", By("errno/write/dead")),
            ("EINTR", By("errno/break/interrupted-by-a-signal")),
        ],
    ),
    (
        "EVENTFD",
        &[
            ("EFAULT", By("errno/eventfd/short")),
            ("EINVAL", By("errno/eventfd/no-such-file")),
            ("ENOENT", By("errno/eventfd/no-such-file")),
            ("EPERM", By("errno/eventfd/of-another-thread")),
            ("EBADF", By("errno/eventfd/no-such-file")),
            ("EEXIST", By("errno/eventfd/one-for-each-key-and-32-keys")),
            ("ENOSPC", By("errno/eventfd/one-for-each-key-and-32-keys")),
        ],
    ),
    (
        "SAVE",
        &[
            ("EINVAL", By("errno/save/before-the-guest")),
            ("ENOENT", By("errno/save/it-dies-of-it")),
            ("EPERM", By("snapshot/only-its-runner")),
            ("EAGAIN", By("errno/save/a-list-comes-first")),
            ("ENOMEM", By("short/no-state-of-a-cpu")),
        ],
    ),
    (
        "RESTORE",
        &[
            ("EFAULT", By("errno/restore/unreadable")),
            ("EINVAL", By("errno/restore/too-long-or-nothing")),
            ("ENOENT", By("errno/save/dead")),
            ("EPERM", By("snapshot/only-its-runner")),
            ("EBUSY", By("errno/restore/begun")),
            ("E2BIG", By("errno/restore/too-long-or-nothing")),
            ("EOPNOTSUPP", By("snapshot/another-cpu-is-refused")),
            ("EINTR", By("errno/restore/signal")),
            ("ENOMEM", By("short/no-cpu-from-a-state")),
        ],
    ),
    (
        "read",
        &[
            ("EFAULT", By("errno/read/dma-not-lost-by-a-small-buffer")),
            ("EINVAL", By("errno/read/not-initialised")),
            ("ENOENT", By("errno/read/death-then-reason")),
            ("EPERM", By("errno/cpus/only-its-runner")),
            ("EAGAIN", By("errno/break/blocks-until-off")),
            ("EINTR", By("errno/read/signal")),
            (
                "ENOMEM",
                Unseen(
                    "the Guest died when Linux had not even a few bytes of its reserve for the reason",
                ),
            ),
        ],
    ),
];
