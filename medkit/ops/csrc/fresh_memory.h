/* Memory that a kernel is the first to write. */
#ifndef MEDKIT_FRESH_MEMORY_H
#define MEDKIT_FRESH_MEMORY_H

#define _DEFAULT_SOURCE /* madvise */
#include <stddef.h>
#include <stdint.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#define HUGE_PAGE ((uintptr_t)1 << 21)

/* Fresh memory costs a page fault for each page, which with small pages is more time than the transform itself. */
static void prefer_huge_pages(void *memory, size_t bytes) {
#ifdef MADV_HUGEPAGE
    uintptr_t begin = ((uintptr_t)memory + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
    uintptr_t end = ((uintptr_t)memory + bytes) & ~(HUGE_PAGE - 1);
    if (end > begin)
        madvise((void *)begin, end - begin, MADV_HUGEPAGE); /* advice: it may fail */
#else
    (void)memory, (void)bytes;
#endif
}

#endif
