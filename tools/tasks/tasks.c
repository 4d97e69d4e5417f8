/* The tasks of fv: one line each, one file each in this folder. */
#include "task.h"
#include <string.h>

extern const task task_image, task_vqa, task_scene_qa, task_motion, task_retrieval, task_points, task_volumes, task_video;

const task *const tasks[] = {&task_image, &task_vqa, &task_scene_qa, &task_motion, &task_retrieval, &task_points, &task_volumes, &task_video, NULL};

const task *task_named(const char *name) {
    for (int i = 0; tasks[i]; i++)
        if (!strcmp(tasks[i]->name, name)) return tasks[i];
    return NULL;
}
