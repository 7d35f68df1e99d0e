// The bodies of CKernel.h: each is one system call, without opinions.
#define _GNU_SOURCE 1
#include "CKernel.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

int pulse_epoll_set(int epoll, int descriptor, uint32_t interest, uint64_t token) {
    struct epoll_event event = {.events = interest, .data.u64 = token};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, descriptor, &event) == 0) return 0;
    if (errno != ENOENT) return errno;
    return epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) == 0 ? 0 : errno;
}

void pulse_epoll_remove(int epoll, int descriptor) {
    struct epoll_event unused = {0};
    (void)epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, &unused);
}

int pulse_poll(struct pollfd *descriptors, int count, int64_t nanoseconds) {
    struct timespec timeout = {
        .tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
    return ppoll(descriptors, (nfds_t)count, &timeout, NULL);
}

int pulse_eventfd(int nonblocking) {
    return eventfd(0, EFD_CLOEXEC | (nonblocking ? EFD_NONBLOCK : 0));
}

int pulse_signalfd(const int *signals, int count) {
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < count; i++) sigaddset(&set, signals[i]);
    int code = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (code != 0) {
        errno = code;
        return -1;
    }
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int pulse_signalfd_next(int descriptor) {
    struct signalfd_siginfo info;
    ssize_t got;
    do got = read(descriptor, &info, sizeof info);
    while (got < 0 && errno == EINTR);
    if (got == (ssize_t)sizeof info) return (int)info.ssi_signo;
    return got < 0 && errno != EAGAIN ? -1 : 0;
}

int pulse_clock_alarm(void) {
    return timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
}

int pulse_clock_alarm_arm(int descriptor) {
    // A time_t is a long here; the kernel takes what it cannot count to for its own end of time.
    const struct itimerspec never = {.it_value.tv_sec = INT64_MAX};
    int flags = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET;
    return timerfd_settime(descriptor, flags, &never, NULL) == 0 ? 0 : errno;
}

void pulse_start_writeback(int descriptor, int64_t position, int64_t bytes) {
    (void)sync_file_range(descriptor, position, bytes, SYNC_FILE_RANGE_WRITE);
}

int pulse_reserve(int descriptor, int64_t bytes) {
    int code;
    do code = fallocate(descriptor, 0, 0, bytes) == 0 ? 0 : errno;
    while (code == EINTR);
    return code;
}

int pulse_try_lock(int descriptor) {
    int code;
    do code = flock(descriptor, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    while (code == EINTR);
    return code;
}

int pulse_openat(int directory, const char *name, int flags, unsigned mode) {
    int descriptor;
    do descriptor = openat(directory, name, flags | O_CLOEXEC, (mode_t)mode);
    while (descriptor < 0 && errno == EINTR);
    return descriptor;
}

int pulse_accept(int listener, struct sockaddr *peer, socklen_t *length) {
    return accept4(listener, peer, length, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

void pulse_name_thread(const char *name) {
    (void)prctl(PR_SET_NAME, name, 0, 0, 0);
}
