/* A stand-in for libedgetpu: its exported functions, and a device that misbehaves on command.
 *
 * The folder named in EDGETPU_STANDIN is the bus. tests/edgetpu/stick.py makes it and commands it while
 * programs run; without that variable there is a library and no device. In the folder:
 *   page       commands and counters, mapped by every process (struct page below; stick.py has its mirror)
 *   journal    one line per event: pid, event, fields, separated by tabs
 *   bell       a FIFO that gets a byte with each line, so that a test can wait for it
 *   lock       byte i is locked by the process that holds device i; the kernel unlocks when it dies
 *   twin.py    the program that computes the true scores;  twin.log: what it says
 *   answers/   true scores by input, so that each input is computed once
 *
 * No TensorFlow header is needed: the few structures that cross are declared here in their published
 * layouts, which are the same in tflite-runtime 2.14 and LiteRT 2.x.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- TensorFlow Lite's C structures, as far as they are touched ---- */

typedef struct { int size; int data[]; } IntArray;

typedef struct {
    int type;              /* 3 uint8, 9 int8 */
    void *data;
    IntArray *dims;
    float scale;
    int zero_point;
    int allocation_type;
    size_t bytes;
    const void *allocation;
    const char *name;
    void *delegate;
    int buffer_handle;
    char data_is_stale, is_variable;
    int quantization_type;
    void *quantization;
    void *sparsity;
    const IntArray *dims_signature;
} Tensor;                  /* 112 bytes: an element of context->tensors */

typedef struct {
    IntArray *inputs, *outputs, *intermediates, *temporaries;
    void *user_data;       /* what the kernel's init returned */
    void *builtin_data;
    const void *custom_initial_data; /* of an edgetpu-custom-op: the compiled package */
    int custom_initial_data_size;
    void *delegate;
    char might_have_side_effect;
} Node;

typedef struct Context Context;
typedef struct Delegate Delegate;

typedef struct {
    void *(*init)(Context *, const char *, size_t);
    void (*free)(Context *, void *);
    int (*prepare)(Context *, Node *);
    int (*invoke)(Context *, Node *);
    const char *(*profiling_string)(const Context *, const Node *);
    int32_t builtin_code;
    const char *custom_name;
    int version;
    void *external, *async_kernel; /* must be null */
    uint64_t inplace_operator;
} Registration;            /* 88 bytes, by value: the length is what stock libedgetpu gets wrong */

struct Context {
    size_t tensors_size;
    int (*GetExecutionPlan)(Context *, IntArray **);
    Tensor *tensors;
    void *impl;
    int (*ResizeTensor)(Context *, Tensor *, IntArray *);
    void (*ReportError)(Context *, const char *, ...);
    int (*AddTensors)(Context *, int, int *);
    int (*GetNodeAndRegistration)(Context *, int, Node **, Registration **);
    int (*ReplaceNodeSubsetsWithDelegateKernels)(Context *, Registration, const IntArray *, Delegate *);
};

struct Delegate {
    void *data;
    int (*Prepare)(Context *, Delegate *);
    void *CopyFromBufferHandle, *CopyToBufferHandle, *FreeBufferHandle;
    int64_t flags;         /* 1: dynamic tensors may be elsewhere in the graph */
    void *opaque_delegate_builder;
    void *later[8];        /* a newer runtime may read on; it finds zeros */
};

typedef struct { Delegate *delegate; IntArray *nodes, *inputs, *outputs; } DelegateParams;

#if UINTPTR_MAX > 0xffffffffu
_Static_assert(sizeof(Tensor) == 112, "TfLiteTensor");
_Static_assert(sizeof(Registration) == 88, "TfLiteRegistration");
_Static_assert(offsetof(Node, custom_initial_data) == 48 && sizeof(Node) == 80, "TfLiteNode");
_Static_assert(offsetof(Delegate, flags) == 40, "TfLiteDelegate");
_Static_assert(offsetof(Context, ReplaceNodeSubsetsWithDelegateKernels) == 64, "TfLiteContext");
#endif

enum { OK = 0, ERROR = 1, UINT8 = 3, INT8 = 9 };

/* ---- libedgetpu's C interface ---- */

enum edgetpu_device_type { EDGETPU_APEX_PCI = 0, EDGETPU_APEX_USB = 1, ANY = -1 };
struct edgetpu_device { enum edgetpu_device_type type; const char *path; };
struct edgetpu_option { const char *name, *value; };

#define EXPORT __attribute__((visibility("default")))

/* ---- The page: what stick.py commands and counts ---- */

enum { DEVICES = 8, ORDERS = 512, REMEMBERED = 256 };
enum fault { NONE, ABORT, SEGFAULT, HANG, FAIL, FLIP, SHIFT, REFUSE };
static const char *const fault_names[] = {"mark", "abort", "segfault", "hang", "error", "flip", "shift", "refuse"};

struct order { uint64_t at; uint32_t fault, unused; };

struct device {
    uint64_t invokes;      /* begun, the spared ones not counted: their number is what orders go by */
    uint64_t warmups;      /* the spared ones */
    uint64_t opens;
    uint64_t since;        /* the first invoke that since_fault befalls */
    uint32_t plugged;      /* 0: not there; else it grows with each plugging in */
    uint32_t kind;         /* edgetpu_device_type */
    uint32_t open_fault;   /* REFUSE, HANG */
    uint32_t construct_fault; /* SEGFAULT */
    uint32_t since_fault;
    uint32_t spared;       /* how many first invokes of each network no fault befalls */
    uint32_t slow_us;
    uint32_t twin;         /* 1: the CPU twin's scores, 0: a fixed function of the input */
    uint32_t exclusive;    /* 1: a second process is refused, 0: it kills the first, as on USB */
    int32_t owner;         /* pid of the last process that opened it */
    uint32_t orders_count, orders_next;
    char path[128];
    struct order orders[ORDERS]; /* each befalls one invoke; ascending */
};

struct page {
    uint32_t size;         /* of this structure, so that stick.py's mirror cannot differ unseen */
    uint32_t runtime_version, package_version;
    uint32_t remembered;   /* files in answers/ */
    uint64_t lists;        /* calls of edgetpu_list_devices */
    struct device devices[DEVICES];
};

typedef struct {
    Delegate base;
    struct device *device;
    uint32_t plugged;      /* the device's, when it was opened */
    int locked;
} Standin;

typedef struct {
    Standin *delegate;
    const void *package;
    size_t package_size;
    uint64_t key;          /* of package and runtime: an answer is theirs alone */
    unsigned invokes;
    unsigned char *scratch;
    int twin;              /* our end of the twin's socket, or -1 */
    pid_t twin_pid;
} Kernel;

static struct page *page;
static char folder[3072];
static int journal_fd = -1, bell_fd = -1, lock_fd = -1;
static pthread_once_t attached = PTHREAD_ONCE_INIT;
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;
static int held[DEVICES]; /* delegates of this process on each device: they share it */

static int open_in_folder(const char *name, int flags) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return open(path, flags | O_CLOEXEC, 0600);
}

static void attach(void) {
    const char *named = getenv("EDGETPU_STANDIN");
    if (named == NULL || strlen(named) >= sizeof folder) return;
    strcpy(folder, named);
    int fd = open_in_folder("page", O_RDWR);
    if (fd < 0) return;
    struct page *mapped = mmap(NULL, sizeof *mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped == MAP_FAILED) return;
    if (mapped->size != sizeof *mapped) {
        fprintf(stderr, "stand-in: a page of %u bytes, not %zu\n", mapped->size, sizeof *mapped);
        return;
    }
    journal_fd = open_in_folder("journal", O_WRONLY | O_APPEND);
    bell_fd = open_in_folder("bell", O_RDWR | O_NONBLOCK); /* for both: never SIGPIPE */
    lock_fd = open_in_folder("lock", O_RDWR);
    page = mapped;
}

static struct page *bus(void) {
    pthread_once(&attached, attach);
    return page;
}

__attribute__((format(printf, 1, 2))) static void journal(const char *format, ...) {
    char line[1024];
    int used = snprintf(line, sizeof line, "%d\t", (int)getpid());
    va_list values;
    va_start(values, format);
    used += vsnprintf(line + used, sizeof line - used - 1, format, values);
    va_end(values);
    if (used > (int)sizeof line - 2) used = sizeof line - 2;
    line[used++] = '\n';
    /* One write each, to a file opened for appending: lines of several processes do not mix. */
    if (write(journal_fd, line, used) < 0 || write(bell_fd, "!", 1) < 0) return; /* a full FIFO has rung */
}

static int number_of(const struct device *device) { return (int)(device - page->devices); }

/* ---- Faults ---- */

static void hang(void) {
    for (;;) pause();
}

static void fatal(const char *words) {
    fprintf(stderr, "F driver/usb/usb_driver.cc:%s\n", words);
    abort();
}

static void crash(void) {
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
}

/* F_WRLCK: whether the device is ours now; F_UNLCK: gives it back. */
static int lock_device(const struct device *device, short type) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = number_of(device), .l_len = 1};
    return fcntl(lock_fd, F_SETLK, &lock) == 0;
}

/* The pid of the other process that has it. */
static int holder(const struct device *device) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = number_of(device), .l_len = 1};
    return fcntl(lock_fd, F_GETLK, &lock) == 0 ? (int)lock.l_pid : 0;
}

/* Ends the process as the real driver does where the cable or another process takes the device away. */
static void check_device(Standin *opened) {
    struct device *device = opened->device;
    if (device->plugged != opened->plugged) {
        journal("lost\t%d", number_of(device));
        fatal("802] [0-0] bulk out for header failed. Abort. Not found: USB transfer error 5 [LibUsbDataOutCallback]");
    }
    if (device->owner != getpid()) {
        journal("robbed\t%d\t%d", number_of(device), device->owner);
        fatal("1150] HandleQueuedBulkIn transfer in failed. Not found: USB transfer error 5 [LibUsbDataInCallback]");
    }
    if (!opened->locked) opened->locked = lock_device(device, F_WRLCK); /* the robbed one has died */
}

/* The fault that is due at this invoke; counts it. */
static enum fault due(Kernel *kernel) {
    struct device *device = kernel->delegate->device;
    if (kernel->invokes++ < device->spared) {
        __atomic_fetch_add(&device->warmups, 1, __ATOMIC_RELAXED);
        return NONE;
    }
    uint64_t number = __atomic_fetch_add(&device->invokes, 1, __ATOMIC_RELAXED);
    uint32_t next = device->orders_next;
    while (next < device->orders_count && device->orders[next].at < number) next++;
    device->orders_next = next;
    enum fault fault = number >= device->since ? device->since_fault : NONE;
    int ordered = next < device->orders_count && device->orders[next].at == number;
    if (ordered) fault = device->orders[next].fault;
    if (ordered || fault == ABORT || fault == SEGFAULT || fault == HANG)
        journal("%s\t%d\t%llu", fault_names[fault], number_of(device), (unsigned long long)number);
    return fault;
}

static void spoil(enum fault fault, unsigned char *scores, size_t count) {
    if (fault == FLIP)
        for (size_t i = 0; i < count; i++) scores[i] ^= 0x80;
    if (fault == SHIFT && count > 1) { /* every score belongs to the next class */
        unsigned char last = scores[count - 1];
        memmove(scores + 1, scores, count - 1);
        scores[0] = last;
    }
}

/* ---- Answers ---- */

/* Depends on every byte and its place, at a nanosecond per 8 bytes; stick.py computes the same. */
static uint64_t digest(const void *bytes, size_t size) {
    uint64_t sum = size, word;
    for (size_t i = 0; i < size / 8; i++) {
        memcpy(&word, (const char *)bytes + 8 * i, 8);
        sum += word * (2 * i + 1);
    }
    word = 0;
    memcpy(&word, (const char *)bytes + size / 8 * 8, size % 8);
    sum += word * (2 * (size / 8) + 1);
    sum = (sum ^ sum >> 32) * 0x9E3779B97F4A7C15u;
    return sum ^ sum >> 29;
}

/* One class near certain, the others near nothing. */
static void fixed_scores(const Tensor *input, const Tensor *output) {
    uint64_t seed = digest(input->data, input->bytes);
    unsigned char *scores = output->data, sign = output->type == INT8 ? 0x80 : 0;
    for (size_t i = 0; i < output->bytes; i++) scores[i] = ((seed >> (i % 7 * 9)) & 0x0f) ^ sign;
    if (output->bytes) scores[seed % output->bytes] = 0xff ^ sign;
}

static int pass(int receive, int fd, void *bytes, size_t size) {
    char *next = bytes;
    while (size) {
        ssize_t count = receive ? recv(fd, next, size, 0) : send(fd, next, size, MSG_NOSIGNAL);
        if (count <= 0) return 0;
        next += count;
        size -= (size_t)count;
    }
    return 1;
}

/* The Python that this process is: argv[0] leads into its virtual environment, /proc/self/exe does not. */
static void own_python(char *python, size_t size) {
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t count = fd < 0 ? 0 : read(fd, python, size - 1);
    if (fd >= 0) close(fd);
    python[count > 0 ? count : 0] = 0;
}

static void start_twin(Kernel *kernel, uint64_t input_size, uint64_t output_size) {
    char python[4096], program[4096];
    int ends[2], log = open_in_folder("twin.log", O_WRONLY | O_CREAT | O_APPEND);
    own_python(python, sizeof python);
    snprintf(program, sizeof program, "%s/twin.py", folder);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return;
    pid_t pid = fork();
    if (pid == 0) {
        /* It must hold nothing of this process: a socket that stays open would hide this one's death. */
        dup2(ends[1], 0);
        dup2(log, 1);
        dup2(log, 2);
        syscall(SYS_close_range, 3u, ~0u, 0u);
        execlp(python, python, program, folder, (char *)NULL);
        _exit(127);
    }
    close(log);
    close(ends[1]);
    kernel->twin = ends[0];
    kernel->twin_pid = pid;
    journal("twin\t%d", (int)pid);
    uint64_t sizes[3] = {kernel->package_size, input_size, output_size};
    pass(0, kernel->twin, sizes, sizeof sizes);
    pass(0, kernel->twin, (void *)kernel->package, kernel->package_size);
}

/* An answer is a file of input and output: the whole input is compared, so that none is ever mistaken. */
static void answer_path(const Kernel *kernel, const Tensor *input, char *path, size_t size) {
    uint64_t name = kernel->key ^ digest(input->data, input->bytes);
    snprintf(path, size, "%s/answers/%016llx", folder, (unsigned long long)name);
}

static int recall(const Kernel *kernel, const char *path, const Tensor *input, const Tensor *output) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t size = (ssize_t)(input->bytes + output->bytes), count = read(fd, kernel->scratch, (size_t)size);
    close(fd);
    if (count != size || memcmp(kernel->scratch, input->data, input->bytes) != 0) return 0;
    memcpy(output->data, kernel->scratch + input->bytes, output->bytes);
    return 1;
}

static void remember(const char *path, const Tensor *input, const Tensor *output) {
    char draft[4200];
    if (__atomic_fetch_add(&page->remembered, 1, __ATOMIC_RELAXED) >= REMEMBERED) return;
    snprintf(draft, sizeof draft, "%s.%d", path, (int)getpid());
    int fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return;
    int whole = write(fd, input->data, input->bytes) == (ssize_t)input->bytes &&
                write(fd, output->data, output->bytes) == (ssize_t)output->bytes;
    close(fd);
    if (!whole || rename(draft, path) != 0) unlink(draft);
}

static int twin_scores(Kernel *kernel, const Tensor *input, const Tensor *output) {
    char path[4096];
    answer_path(kernel, input, path, sizeof path);
    if (recall(kernel, path, input, output)) return 1;
    if (kernel->twin < 0) start_twin(kernel, input->bytes, output->bytes);
    if (kernel->twin < 0 || !pass(0, kernel->twin, input->data, input->bytes) ||
        !pass(1, kernel->twin, output->data, output->bytes))
        return 0;
    remember(path, input, output);
    return 1;
}

/* ---- The kernel: one compiled operator in one interpreter ---- */

static void *kernel_init(Context *context, const char *buffer, size_t length) {
    const DelegateParams *params = (const void *)buffer;
    Node *node = NULL;
    Registration *registration = NULL;
    (void)length;
    if (params->nodes->size != 1) return NULL; /* not what the compiler makes of one graph */
    if (context->GetNodeAndRegistration(context, params->nodes->data[0], &node, &registration) != OK) return NULL;
    Kernel *kernel = calloc(1, sizeof *kernel);
    Dl_info runtime = {0};
    void *address;
    kernel->delegate = (Standin *)params->delegate;
    kernel->package = node->custom_initial_data;
    kernel->package_size = (size_t)node->custom_initial_data_size;
    kernel->twin = -1;
    memcpy(&address, &context->ReportError, sizeof address); /* a function of the runtime's own library */
    if (dladdr(address, &runtime) == 0) runtime.dli_fname = "";
    kernel->key = digest(kernel->package, kernel->package_size) ^ digest(runtime.dli_fname, strlen(runtime.dli_fname));
    return kernel;
}

static void kernel_free(Context *context, void *buffer) {
    Kernel *kernel = buffer;
    (void)context;
    if (kernel == NULL) return;
    if (kernel->twin >= 0) {
        close(kernel->twin);
        kill(kernel->twin_pid, SIGKILL);
        waitpid(kernel->twin_pid, NULL, 0);
    }
    free(kernel->scratch);
    free(kernel);
}

static int kernel_prepare(Context *context, Node *node) {
    Kernel *kernel = node->user_data;
    if (kernel == NULL || node->inputs->size != 1 || node->outputs->size != 1) {
        context->ReportError(context, "stand-in: one compiled operator of one input and one output");
        return ERROR;
    }
    if (page->package_version > page->runtime_version) {
        context->ReportError(context,
            "Failed to prepare for TPU. Failed precondition: Package requires runtime version (%u), "
            "which is newer than this runtime version (%u).", page->package_version, page->runtime_version);
        return ERROR;
    }
    const Tensor *input = &context->tensors[node->inputs->data[0]];
    const Tensor *output = &context->tensors[node->outputs->data[0]];
    if (output->type != UINT8 && output->type != INT8) {
        context->ReportError(context, "stand-in: scores of 8 bits, not type %d", output->type);
        return ERROR;
    }
    free(kernel->scratch);
    kernel->scratch = malloc(input->bytes + output->bytes);
    return kernel->scratch ? OK : ERROR;
}

static int kernel_invoke(Context *context, Node *node) {
    Kernel *kernel = node->user_data;
    struct device *device = kernel->delegate->device;
    const Tensor *input = &context->tensors[node->inputs->data[0]];
    const Tensor *output = &context->tensors[node->outputs->data[0]];
    check_device(kernel->delegate);
    enum fault fault = due(kernel);
    if (device->slow_us) {
        struct timespec wait = {device->slow_us / 1000000, device->slow_us % 1000000 * 1000L};
        nanosleep(&wait, NULL);
    }
    if (fault == ABORT)
        fatal("802] [0-0] bulk out for header failed. Abort. Unknown: USB transfer error 1 [LibUsbDataOutCallback]");
    if (fault == SEGFAULT) crash();
    if (fault == HANG) hang();
    if (fault == FAIL) {
        context->ReportError(context, "Failed to execute request. Internal: told to fail.");
        return ERROR;
    }
    if (!device->twin) {
        fixed_scores(input, output);
    } else if (!twin_scores(kernel, input, output)) {
        context->ReportError(context, "stand-in: the twin is gone: see twin.log in EDGETPU_STANDIN.");
        return ERROR;
    }
    spoil(fault, output->data, output->bytes);
    return OK;
}

/* ---- The delegate ---- */

static int delegate_prepare(Context *context, Delegate *delegate) {
    struct device *device = ((Standin *)delegate)->device;
    IntArray *plan = NULL;
    if (device->construct_fault == SEGFAULT) {
        journal("segfault\t%d\tconstructor", number_of(device));
        crash();
    }
    if (context->GetExecutionPlan(context, &plan) != OK) return ERROR;
    IntArray *ours = calloc(1, sizeof *ours + (size_t)plan->size * sizeof(int));
    for (int i = 0; i < plan->size; i++) {
        Node *node;
        Registration *registration;
        if (context->GetNodeAndRegistration(context, plan->data[i], &node, &registration) != OK) continue;
        if (registration->custom_name && strcmp(registration->custom_name, "edgetpu-custom-op") == 0)
            ours->data[ours->size++] = plan->data[i];
    }
    Registration registration = {.init = kernel_init, .free = kernel_free, .prepare = kernel_prepare,
                                 .invoke = kernel_invoke, .custom_name = "EdgeTpuDelegateForCustomOp", .version = 1};
    int status = OK;
    if (ours->size) status = context->ReplaceNodeSubsetsWithDelegateKernels(context, registration, ours, delegate);
    free(ours);
    return status;
}

/* Makes the device ours; 0 where another process has it and keeps it. */
static int take(struct device *device, int *locked) {
    int number = number_of(device);
    *locked = lock_device(device, F_WRLCK);
    if (!*locked) {
        journal("%s\t%d\t%d", device->exclusive ? "busy" : "rob", number, holder(device));
        if (device->exclusive) return 0;
    }
    held[number]++;
    device->owner = getpid();
    __atomic_fetch_add(&device->opens, 1, __ATOMIC_RELAXED);
    return 1;
}

static Delegate *open_device(struct device *device, const char *forwarded, void (*report)(const char *)) {
    int number = number_of(device), locked;
    if (device->open_fault == HANG) {
        journal("hang\t%d\topen", number);
        hang();
    }
    if (device->open_fault == REFUSE) {
        journal("refuse\t%d", number);
        if (report) report("stand-in: told to refuse");
        return NULL;
    }
    pthread_mutex_lock(&opening);
    int taken = take(device, &locked);
    pthread_mutex_unlock(&opening);
    if (!taken) return NULL;
    Standin *opened = calloc(1, sizeof *opened);
    opened->base.Prepare = delegate_prepare;
    opened->base.flags = 1;
    opened->device = device;
    opened->plugged = device->plugged;
    opened->locked = locked;
    journal("open\t%d%s", number, forwarded);
    return &opened->base;
}

/* The index-th present device, in order; of that kind, where one is asked for; at that path, likewise. */
static struct device *find(int kind, int index, const char *path) {
    for (int i = 0; i < DEVICES; i++) {
        struct device *device = &page->devices[i];
        if (!device->plugged || (kind != ANY && (int)device->kind != kind)) continue;
        if (path && strcmp(path, device->path) != 0) continue;
        if (index-- == 0) return device;
    }
    return NULL;
}

/* The values of the option "device": "", "usb", "pci", ":N", "usb:N", "pci:N"; 0 for any other. */
static int parse_device(const char *wanted, int *kind, int *index) {
    char *end;
    size_t name = strcspn(wanted, ":");
    *index = -1;
    if (name == 0) *kind = ANY;
    else if (name == 3 && strncmp(wanted, "usb", 3) == 0) *kind = EDGETPU_APEX_USB;
    else if (name == 3 && strncmp(wanted, "pci", 3) == 0) *kind = EDGETPU_APEX_PCI;
    else return 0;
    if (wanted[name] == 0) return 1;
    long number = strtol(wanted + name + 1, &end, 10);
    *index = (int)number;
    return end != wanted + name + 1 && *end == 0 && number >= 0 && number < DEVICES;
}

static void append(char *text, size_t size, const char *name, const char *value) {
    size_t used = strlen(text);
    snprintf(text + used, size - used, "\t%s=%s", name, value);
}

EXPORT Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
    char all[512] = "", forwarded[512] = "";
    const char *wanted = "";
    int kind, index;
    if (!bus()) return NULL;
    for (size_t i = 0; i < count; i++) {
        append(all, sizeof all, keys[i], values[i]);
        if (strcmp(keys[i], "device") == 0) wanted = values[i];
        else append(forwarded, sizeof forwarded, keys[i], values[i]);
    }
    journal("create%s", all);
    if (!parse_device(wanted, &kind, &index)) return NULL;
    struct device *device = find(kind, index < 0 ? 0 : index, NULL);
    /* Only a device asked for by its index gets the other options: so does the real plugin. */
    return device ? open_device(device, index < 0 ? "" : forwarded, report) : NULL;
}

EXPORT void tflite_plugin_destroy_delegate(Delegate *delegate) {
    Standin *opened = (Standin *)delegate;
    if (opened == NULL) return;
    int number = number_of(opened->device);
    pthread_mutex_lock(&opening);
    if (--held[number] == 0) lock_device(opened->device, F_UNLCK);
    pthread_mutex_unlock(&opening);
    journal("close\t%d", number);
    free(opened);
}

EXPORT Delegate *edgetpu_create_delegate(enum edgetpu_device_type type, const char *name,
                                         const struct edgetpu_option *options, size_t count) {
    char forwarded[512] = "";
    if (!bus()) return NULL;
    for (size_t i = 0; i < count; i++) append(forwarded, sizeof forwarded, options[i].name, options[i].value);
    journal("create%s", forwarded);
    struct device *device = find((int)type, 0, name);
    return device ? open_device(device, forwarded, NULL) : NULL;
}

EXPORT void edgetpu_free_delegate(Delegate *delegate) { tflite_plugin_destroy_delegate(delegate); }

EXPORT struct edgetpu_device *edgetpu_list_devices(size_t *count) {
    struct edgetpu_device *devices = bus() ? calloc(DEVICES, sizeof *devices) : NULL;
    struct device *device;
    *count = 0;
    if (devices == NULL) return NULL;
    while (*count < DEVICES && (device = find(ANY, (int)*count, NULL)) != NULL)
        devices[(*count)++] = (struct edgetpu_device){(enum edgetpu_device_type)device->kind, device->path};
    __atomic_fetch_add(&page->lists, 1, __ATOMIC_RELAXED);
    journal("list\t%zu", *count);
    if (*count) return devices;
    free(devices);
    return NULL;
}

EXPORT void edgetpu_free_devices(struct edgetpu_device *devices) { free(devices); }

EXPORT void edgetpu_verbosity(int verbosity) { (void)verbosity; }

EXPORT const char *edgetpu_version(void) {
    static char version[64];
    snprintf(version, sizeof version, "BuildLabel(stand-in), RuntimeVersion(%u)", bus() ? page->runtime_version : 14);
    return version;
}
