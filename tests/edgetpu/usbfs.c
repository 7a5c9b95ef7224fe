/*
 * Stands in for the kernel's USBDEVFS_RESET, loaded into a child by LD_PRELOAD.
 *
 * In the folder $USBFS_STANDIN: the reset node's path is appended to "resets"; the program "reset", where there
 * is one, is run; then the number in "errno" is the error, none is success.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *in_folder(const char *name)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", getenv("USBFS_STANDIN"), name);
    return path;
}

static int reset(int descriptor)
{
    char link[64], node[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, node, sizeof node - 1);
    node[length > 0 ? length : 0] = 0;
    FILE *file = fopen(in_folder("resets"), "a");
    fprintf(file, "%s\n", node);
    fclose(file);
    if (access(in_folder("reset"), X_OK) == 0 && system(in_folder("reset")) != 0)
        abort();
    int number = 0;
    file = fopen(in_folder("errno"), "r");
    if (file && fscanf(file, "%d", &number) == 1)
        errno = number;
    if (file)
        fclose(file);
    return number ? -1 : 0;
}

__attribute__((visibility("default"))) int ioctl(int descriptor, unsigned long request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (request == _IO('U', 20) && getenv("USBFS_STANDIN"))
        return reset(descriptor);
    return (int)syscall(SYS_ioctl, descriptor, request, argument);
}
