/* The tasks of fv. The Makefile writes tasks.inc: TASK(NAME) for each line `const task task_NAME = {` of a
 * file in this folder. */
#include "task.h"
#include <string.h>

#define TASK(name) extern const task task_##name;
#include "tasks.inc"
#undef TASK
#define TASK(name) &task_##name,
const task *const tasks[] = {
#include "tasks.inc"
    NULL};

const task *task_named(const char *name) {
    for (int i = 0; tasks[i]; i++)
        if (!strcmp(tasks[i]->name, name)) return tasks[i];
    return NULL;
}
