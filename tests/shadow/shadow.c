/* Keeps what a power cut would leave: preloaded into the server, it copies a file (or a directory's names) whenever the server
 * syncs it, before the sync and published after it; and after a write to a file that was opened for durable writes. What was written
 * and never synced is not in the copy.
 *
 *   SHADOW_ROOT  the data directory, absolute
 *   SHADOW_COPY  where copies go: file-INODE and dir-INODE
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int real_sync(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return real(fd);
}

static int below_root(int fd, char *path, size_t size) {
    const char *root = getenv("SHADOW_ROOT");
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (root == NULL || length < 0) return 0;
    path[length] = 0;
    return strncmp(path, root, strlen(root)) == 0;
}

/* Writes the copy to a temporary file and gives its name, which has up to 32 bytes more than the final one's `size`. */
static int copy(int fd, const char *path, char *temporary, char *final, size_t size) {
    struct stat about;
    if (fstat(fd, &about) != 0) return -1;
    int directory = S_ISDIR(about.st_mode);
    const char *to = getenv("SHADOW_COPY");
    snprintf(final, size, "%s/%s-%lu", to, directory ? "dir" : "file", (unsigned long)about.st_ino);
    snprintf(temporary, size + 32, "%s.%ld", final, (long)syscall(SYS_gettid));
    int out = open(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (out < 0) return -1;
    if (directory) {
        DIR *listing = opendir(path);
        struct dirent *entry;
        while (listing != NULL && (entry = readdir(listing)) != NULL)
            if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                dprintf(out, "%c %lu %s\n", entry->d_type == DT_DIR ? 'd' : 'f', (unsigned long)entry->d_ino, entry->d_name);
        if (listing != NULL) closedir(listing);
    } else {
        static __thread char buffer[1 << 16];
        int in = open(path, O_RDONLY);
        ssize_t got;
        while (in >= 0 && (got = read(in, buffer, sizeof buffer)) > 0)
            if (write(out, buffer, (size_t)got) != got) break;
        if (in >= 0) close(in);
    }
    close(out);
    return 0;
}

static int shadowed(const char *name, int fd) {
    char path[4096], temporary[4400], final[4160];
    int copied = below_root(fd, path, sizeof path) && copy(fd, path, temporary, final, sizeof final) == 0;
    int result = real_sync(name, fd);
    if (copied && result == 0) rename(temporary, final);
    return result;
}

int fsync(int fd) { return shadowed("fsync", fd); }
int fdatasync(int fd) { return shadowed("fdatasync", fd); }

/* A file opened with O_DSYNC is written in no other way, so all of it is durable. */
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    ssize_t (*real)(int, const void *, size_t, off64_t) = (ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    ssize_t written = real(fd, bytes, count, at);
    char path[4096], temporary[4400], final[4160];
    if (written > 0 && (fcntl(fd, F_GETFL) & O_DSYNC) && below_root(fd, path, sizeof path) &&
        copy(fd, path, temporary, final, sizeof final) == 0)
        rename(temporary, final);
    return written;
}
