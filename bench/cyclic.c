/* What cyclictest of the rt-tests does: sleep to absolute deadlines, and note how late one wakes. */
#define _POSIX_C_SOURCE 200112L
#include <errno.h>
#include <stdint.h>
#include <time.h>

enum { NS_PER_S = 1000000000 };

#pragma GCC visibility push(default)
int sleep_periodically(int64_t period_ns, int64_t count, int64_t *late_ns);
#pragma GCC visibility pop

/* Wake `count` times, every `period_ns`; return 0, or the error of the system. */
int sleep_periodically(int64_t period_ns, int64_t count, int64_t *late_ns)
{
    struct timespec deadline, now;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    for (int64_t i = 0; i < count; i++) {
        int64_t ns = deadline.tv_nsec + period_ns;
        deadline.tv_sec += ns / NS_PER_S;
        deadline.tv_nsec = ns % NS_PER_S;
        int error;
        do {
            error = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, 0);
        } while (error == EINTR);
        if (error) {
            return error;
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
        late_ns[i] = (now.tv_sec - deadline.tv_sec) * (int64_t)NS_PER_S + now.tv_nsec
            - deadline.tv_nsec;
    }
    return 0;
}
