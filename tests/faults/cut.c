/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cut FOLDER: the power of the file system that FOLDER is on fails now. Nothing that was not yet
 * synced reaches the disk, and nothing can be written until it was unmounted and mounted again.
 * For ext4 and XFS, by root.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SHUTDOWN _IOR('X', 125, uint32_t)

enum { WITHOUT_LOG_FLUSH = 2 };

int main(int argc, char **argv)
{
    uint32_t how = WITHOUT_LOG_FLUSH;
    if (argc != 2)
        return 2;
    int fd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, SHUTDOWN, &how) < 0) {
        perror(argv[1]);
        return 1;
    }
    (void)close(fd);
    return 0;
}
