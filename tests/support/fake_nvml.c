/* A stand-in for NVIDIA's management library, for machines without a GPU.

   FAKE_NVML holds its devices, "UUID=MIB" with commas between; a size of 0 is a device that tells no
   memory of its own. FAKE_NVML_STATUS is what nvmlInit_v2 answers. Only what the worker asks is
   here. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEVICES = 16, TEXT = 96, NOT_SUPPORTED = 3, NOT_FOUND = 6, UNINITIALIZED = 1 };

typedef struct { unsigned long long total, free, used; } memory_t;

static struct { char uuid[TEXT]; unsigned long long mib; } devices[DEVICES];
static unsigned int count;
static int started;

int nvmlInit_v2(void) {
    const char *status = getenv("FAKE_NVML_STATUS"), *told = getenv("FAKE_NVML");
    if (status && atoi(status)) return atoi(status);
    char *text = strdup(told ? told : ""), *left = text, *one;
    count = 0;
    while ((one = strsep(&left, ",")) && count < DEVICES) {
        char *size = strchr(one, '=');
        if (!size) continue;
        snprintf(devices[count].uuid, TEXT, "%.*s", (int)(size - one), one);
        devices[count++].mib = strtoull(size + 1, NULL, 10);
    }
    free(text);
    started = 1;
    return 0;
}

int nvmlShutdown(void) { started = 0; return 0; }

int nvmlDeviceGetCount_v2(unsigned int *found) {
    *found = count;
    return started ? 0 : UNINITIALIZED;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    if (index >= count) return NOT_FOUND;
    *device = &devices[index];
    return started ? 0 : UNINITIALIZED;
}

static unsigned int place(void *device) {
    return (unsigned int)(((char *)device - (char *)devices) / sizeof devices[0]);
}

int nvmlDeviceGetUUID(void *device, char *text, unsigned int length) {
    snprintf(text, length, "%s", devices[place(device)].uuid);
    return 0;
}

int nvmlDeviceGetName(void *device, char *text, unsigned int length) {
    snprintf(text, length, "Fake GPU of %llu MiB", devices[place(device)].mib);
    return 0;
}

int nvmlDeviceGetMemoryInfo(void *device, memory_t *memory) {
    unsigned long long bytes = devices[place(device)].mib << 20;
    if (!bytes) return NOT_SUPPORTED;
    *memory = (memory_t){bytes, bytes, 0};
    return 0;
}
