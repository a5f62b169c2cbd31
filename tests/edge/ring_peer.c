/* The ring in C, layout version 1: the writer that an acquisition card's driver would hold, and a reader. Built by the
 * tests, which let it and the Python side read each other's records. Plain C11, no library beside libc.
 *
 *   ring_peer write PATH FORMAT CHANNELS FRAMES CAPACITY RATE_HZ DESCRIPTION RECORDS    then waits for end of input
 *   ring_peer read PATH      every record that is there: number first_index t_ns frames flags sum, then the tally
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct header {
    char magic[8];
    uint32_t version, header_bytes, format, channels, frames, stride;
    uint64_t capacity, epoch;
    uint32_t pid, origin;
    uint64_t pid_start_ticks, payload_bytes;
    double rate_hz;
    uint32_t description_at, description_bytes;
    char to_line[40];
    _Atomic uint64_t head, heartbeat_ns, state;
};
_Static_assert(offsetof(struct header, head) == 128 && offsetof(struct header, state) == 144, "layout version 1");

struct record {
    _Atomic uint64_t sequence;
    uint64_t number, first_index;
    int64_t t_ns;
    uint32_t frames, flags, checksum;
    char to_line[20];
    unsigned char payload[];
};
_Static_assert(offsetof(struct record, payload) == 64, "layout version 1");

static uint32_t table[256];

static void make_table(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
        table[i] = c;
    }
}

static uint32_t crc32_on(uint32_t crc, const void *data, size_t size) {
    const unsigned char *p = data;
    crc = ~crc;
    while (size--) crc = table[(crc ^ *p++) & 255] ^ (crc >> 8);
    return ~crc;
}

static uint32_t checksum_of(const struct record *r, uint64_t epoch, size_t payload_bytes) {
    uint32_t crc = crc32_on(0, &epoch, sizeof epoch);
    crc = crc32_on(crc, &r->number, 32);
    return crc32_on(crc, r->payload, payload_bytes);
}

static struct record *slot(void *base, const struct header *h, uint64_t number) {
    return (struct record *)((char *)base + h->header_bytes + (number % h->capacity) * h->stride);
}

static int64_t monotonic_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* The whole of what a writer does for one record. */
static void write_record(void *base, const void *block, uint32_t frames, int64_t t_ns, uint64_t first_index) {
    struct header *h = base;
    uint64_t number = atomic_load_explicit(&h->head, memory_order_relaxed);
    struct record *r = slot(base, h, number);
    size_t used = (size_t)frames * (h->payload_bytes / h->frames);
    atomic_store_explicit(&r->sequence, 2 * number + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    memcpy(r->payload, block, used);
    memset(r->payload + used, 0, h->payload_bytes - used);
    r->number = number, r->first_index = first_index, r->t_ns = t_ns, r->frames = frames, r->flags = 0;
    r->checksum = checksum_of(r, h->epoch, h->payload_bytes);
    atomic_store_explicit(&r->sequence, 2 * number + 2, memory_order_release);
    atomic_store_explicit(&h->head, number + 1, memory_order_release);
    atomic_store_explicit(&h->heartbeat_ns, (uint64_t)monotonic_ns(), memory_order_relaxed);
}

static int write_ring(char **a) {
    const char *path = a[0], *description = a[6];
    uint32_t format = atoi(a[1]), channels = atoi(a[2]), frames = atoi(a[3]), capacity = atoi(a[4]);
    size_t payload = (size_t)channels * frames * (format == 1 ? 2 : 4), said = strlen(description);
    size_t head_bytes = (192 + said + 4095) / 4096 * 4096, stride = (64 + payload + 63) / 64 * 64;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) || posix_fallocate(fd, 0, head_bytes + capacity * stride)) return 1;
    void *base = mmap(NULL, head_bytes + capacity * stride, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) return 1;
    struct header h = {.version = 1, .header_bytes = head_bytes, .format = format, .channels = channels,
        .frames = frames, .stride = stride, .capacity = capacity, .epoch = 77, .pid = getpid(), .origin = 2,
        .payload_bytes = payload, .rate_hz = atof(a[5]), .description_at = 192, .description_bytes = said, .state = 1};
    memcpy(h.magic, "ZLRING\r\n", 8);
    memcpy((char *)base + 192, description, said);
    memcpy(base, &h, sizeof h);
    unsigned char *block = malloc(payload);
    for (int n = 0, records = atoi(a[7]); n < records; n++) {
        for (size_t i = 0; i < payload; i++) block[i] = (unsigned char)(n + i);
        write_record(base, block, frames, 1000 + n, (uint64_t)n * frames);
    }
    puts("written");
    fflush(stdout);
    while (getchar() != EOF) {}
    return 0;
}

static int read_ring(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st)) return 1;
    void *base = mmap(NULL, st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED || memcmp(base, "ZLRING\r\n", 8)) return 1;
    struct header *h = base;
    struct record *copy = malloc(h->stride);
    uint64_t head = atomic_load_explicit(&h->head, memory_order_acquire), received = 0, lost = 0;
    uint64_t first = head >= h->capacity ? head - h->capacity + 1 : 0;
    for (uint64_t n = first; n < head; n++) {
        struct record *r = slot(base, h, n);
        uint64_t before = atomic_load_explicit(&r->sequence, memory_order_acquire);
        memcpy(copy, r, h->stride);
        atomic_thread_fence(memory_order_acquire);
        uint64_t after = atomic_load_explicit(&r->sequence, memory_order_relaxed);
        if (before != 2 * n + 2 || after != before || checksum_of(copy, h->epoch, h->payload_bytes) != copy->checksum) {
            lost++;
            continue;
        }
        uint64_t sum = 0;
        for (size_t i = 0; i < h->payload_bytes; i++) sum += (i + 1) * copy->payload[i];
        received++;
        printf("%llu %llu %lld %u %u %llu\n", (unsigned long long)n, (unsigned long long)copy->first_index,
            (long long)copy->t_ns, copy->frames, copy->flags, (unsigned long long)sum);
    }
    printf("tally %llu %llu %llu %llu\n", (unsigned long long)head, (unsigned long long)received,
        (unsigned long long)lost, (unsigned long long)first);
    return 0;
}

int main(int argc, char **argv) {
    make_table();
    if (argc == 10 && !strcmp(argv[1], "write")) return write_ring(argv + 2);
    if (argc == 3 && !strcmp(argv[1], "read")) return read_ring(argv[2]);
    fputs("usage: ring_peer write PATH FORMAT CHANNELS FRAMES CAPACITY RATE_HZ DESCRIPTION RECORDS | read PATH\n", stderr);
    return 2;
}
