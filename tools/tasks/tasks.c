/* The tasks of fv: one name each here, one file each in this folder. */
#include "task.h"
#include <string.h>

#define TASKS(one)                                                                                           \
    one(image) one(vqa) one(scene_qa) one(motion) one(retrieval) one(points) one(volumes) one(video)

#define DECLARED(name) extern const task task_##name;
#define LISTED(name) &task_##name,
TASKS(DECLARED)
const task *const tasks[] = {TASKS(LISTED) NULL};

const task *task_named(const char *name) {
    for (int i = 0; tasks[i]; i++)
        if (!strcmp(tasks[i]->name, name)) return tasks[i];
    return NULL;
}
