// The Linux calls that Swift's Glibc module leaves out or imports as awkward macros.
#pragma once

// _GNU_SOURCE stays out of this header: with it, the C library's structures would look different here
// from how Swift's own Glibc module sees them.
#include <poll.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static const uint32_t pulse_epoll_in = EPOLLIN;
static const uint32_t pulse_epoll_out = EPOLLOUT;
static const uint32_t pulse_epoll_gone = EPOLLERR | EPOLLHUP;

/// Adds a descriptor, or changes it when the set has it already. 0, or errno.
int pulse_epoll_set(int epoll, int descriptor, uint32_t interest, uint64_t token);
/// Forgets a descriptor; one that is already closed is no error.
void pulse_epoll_remove(int epoll, int descriptor);

/// poll with a timeout in nanoseconds. How many descriptors are ready, or -1 with errno.
int pulse_poll(struct pollfd *descriptors, int count, int64_t nanoseconds);

/// A counter to wake a thread with; blocking or not. The descriptor, or -1 with errno.
int pulse_eventfd(int nonblocking);

/// Blocks `signals` for the calling thread and those it will start, and returns a descriptor that
/// tells of them; -1 with errno.
int pulse_signalfd(const int *signals, int count);
/// The next signal waiting in a descriptor of `pulse_signalfd`, 0 when there is none, -1 with errno.
int pulse_signalfd_next(int descriptor);

/// A timer of the wall clock that never rings, but tells when somebody sets that clock: reading it then
/// gives ECANCELED, and so does arming it when the clock was set since. The descriptor, or -1 with errno.
int pulse_clock_alarm(void);
/// Arms it for the end of time. 0, or errno.
int pulse_clock_alarm_arm(int descriptor);

/// Starts writing a range out without waiting for it: spreads the work of a later sync. A hint.
void pulse_start_writeback(int descriptor, int64_t position, int64_t bytes);
/// Reserves blocks. 0, or errno; EOPNOTSUPP where the file system cannot.
int pulse_reserve(int descriptor, int64_t bytes);
/// Takes an exclusive lock on an open file without waiting. 0, or errno.
int pulse_try_lock(int descriptor);

/// openat with O_CLOEXEC, repeated when a signal interrupts it. The descriptor, or -1 with errno.
int pulse_openat(int directory, const char *name, int flags, unsigned mode);

/// Accepts a connection that is non-blocking and not inherited. The descriptor, or -1 with errno.
int pulse_accept(int listener, struct sockaddr *peer, socklen_t *length);

/// Names the calling thread for whoever looks at it from outside; 15 bytes are kept.
void pulse_name_thread(const char *name);
