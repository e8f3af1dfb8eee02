/* Stands between SQLite and the disk: while the file $CREWD_TROUBLE says "write" or "sync", that fails with EIO for databases. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int trouble(int fd, const char *what) {
    char link[64], path[4096], word[16] = "";
    const char *file = getenv("CREWD_TROUBLE");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (file == NULL || size < 0) return 0;
    path[size] = 0;
    if (strstr(path, ".db") == NULL || strstr(path, "-shm") != NULL) return 0;
    int said = open(file, O_RDONLY);
    if (said < 0) return 0;
    ssize_t got = read(said, word, sizeof word - 1);
    close(said);
    if (got <= 0 || strncmp(word, what, strlen(what)) != 0) return 0;
    errno = EIO;
    return 1;
}

#define REAL(type, name) ((type)dlsym(RTLD_NEXT, name))

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    if (trouble(fd, "write")) return -1;
    return REAL(ssize_t(*)(int, const void *, size_t, off64_t), "pwrite64")(fd, data, size, at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    if (trouble(fd, "write")) return -1;
    return REAL(ssize_t(*)(int, const void *, size_t, off_t), "pwrite")(fd, data, size, at);
}

ssize_t write(int fd, const void *data, size_t size) {
    if (trouble(fd, "write")) return -1;
    return REAL(ssize_t(*)(int, const void *, size_t), "write")(fd, data, size);
}

int fdatasync(int fd) {
    if (trouble(fd, "sync")) return -1;
    return REAL(int (*)(int), "fdatasync")(fd);
}

int fsync(int fd) {
    if (trouble(fd, "sync")) return -1;
    return REAL(int (*)(int), "fsync")(fd);
}
