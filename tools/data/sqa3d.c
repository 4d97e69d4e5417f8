#include "sqa3d.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static char *copied(fv_ctx *c, const char *text) {
    char *p = (char *)fv_alloc(c, strlen(text) + 1);
    if (p) memcpy(p, text, strlen(text) + 1);
    return p;
}

/* position {x,y,z} and rotation {_x,_y,_z,_w}: +y, turned, as it lies on the floor */
static int read_pose(fv_ctx *c, const fv_json *j, fv_jnode e, const char *path, int row, pose *p) {
    static const char *const axis[3] = {"x", "y", "z"}, *const part[4] = {"_x", "_y", "_z", "_w"};
    fv_jnode at = fv_json_get(j, e, "position"), turn = fv_json_get(j, e, "rotation");
    double q[4], v;
    int ok = 1;
    for (int k = 0; k < 3; k++)
        v = fv_json_number(j, fv_json_get(j, at, axis[k]), 1e30), ok &= fabs(v) < 1e4, p->at[k] = (float)v;
    for (int k = 0; k < 4; k++)
        q[k] = fv_json_number(j, fv_json_get(j, turn, part[k]), 1e30), ok &= fabs(q[k]) <= 1.001;
    if (!ok)
        return fv_fail(c, FV_EFORMAT,
                       "%s: annotation %d: position {x,y,z} and rotation {_x,_y,_z,_w} are wanted", path,
                       row);
    double x = 2 * (q[0] * q[1] - q[2] * q[3]), y = 1 - 2 * (q[0] * q[0] + q[2] * q[2]),
           length = sqrt(x * x + y * y);
    if (!(length > 1e-6))
        return fv_fail(c, FV_EFORMAT, "%s: annotation %d: rotation is none about z", path, row);
    p->forward[0] = (float)(x / length), p->forward[1] = (float)(y / length);
    return 1;
}

/* question `row` e of j, and its annotation f of a */
static int read_one(fv_ctx *c, const fv_json *j, fv_jnode e, const fv_json *a, fv_jnode f,
                    const char *const *path, int row, situated *s) {
    const char *text[4] = {
        fv_json_string(j, fv_json_get(j, e, "scene_id"), NULL),
        fv_json_string(j, fv_json_get(j, e, "situation"), NULL),
        fv_json_string(j, fv_json_get(j, e, "question"), NULL),
        fv_json_string(a, fv_json_get(a, fv_json_at(a, fv_json_get(a, f, "answers"), 0), "answer"), NULL)};
    double id = fv_json_number(j, fv_json_get(j, e, "question_id"), -1),
           same = fv_json_number(a, fv_json_get(a, f, "question_id"), -2);
    if (!text[0] || !text[1] || !text[2] || !*text[2] || strlen(text[1]) + strlen(text[2]) > 1000)
        return fv_fail(c, FV_EFORMAT,
                       "%s: question %d: scene_id, situation and question (at most 1,000 bytes) are wanted",
                       path[0], row);
    if (!*text[0] || strlen(text[0]) > 63 || strchr(text[0], '/'))
        return fv_fail(c, FV_EFORMAT, "%s: question %d: \"%.70s\" is no scene_id", path[0], row, text[0]);
    if (!(id >= 0 && floor(id) >= id && id <= same && id >= same))
        return fv_fail(c, FV_EFORMAT, "%s: annotation %d has not the question_id of question %d", path[1],
                       row, row);
    if (!text[3] || !*text[3] || strlen(text[3]) > 63)
        return fv_fail(c, FV_EFORMAT, "%s: annotation %d: answers[0].answer (at most 63 bytes) is wanted",
                       path[1], row);
    s->scene = copied(c, text[0]), s->situation = copied(c, text[1]), s->question = copied(c, text[2]),
    s->answer = copied(c, text[3]);
    return !fv_error(c) && read_pose(c, a, f, path[1], row, &s->p);
}

int sqa3d_read(fv_ctx *c, const char *questions, const char *annotations, situated_list *l) {
    const char *const path[2] = {questions, annotations};
    memset(l, 0, sizeof *l);
    fv_json *j = fv_json_open(c, questions), *a = j ? fv_json_open(c, annotations) : NULL;
    fv_jnode q = a ? fv_json_get(j, fv_json_root(j), "questions") : 0,
             n = a ? fv_json_get(a, fv_json_root(a), "annotations") : 0;
    if (a && (fv_json_type(j, q) != FV_JSON_ARRAY || fv_json_count(j, q) < 1))
        fv_fail(c, FV_EFORMAT, "%s: \"questions\", a list, is wanted", questions);
    else if (a && (fv_json_type(a, n) != FV_JSON_ARRAY || fv_json_count(a, n) != fv_json_count(j, q)))
        fv_fail(c, FV_EFORMAT, "%s: \"annotations\", a list as long as the questions', is wanted",
                annotations);
    if (!fv_error(c)) l->item = (situated *)fv_alloc(c, (size_t)fv_json_count(j, q) * sizeof *l->item);
    fv_jnode e = l->item ? fv_json_first(j, q) : 0, f = l->item ? fv_json_first(a, n) : 0;
    for (; e && f && !fv_error(c); e = fv_json_next(j, e), f = fv_json_next(a, f))
        read_one(c, j, e, a, f, path, l->count, &l->item[l->count]), l->count++;
    fv_json_free(c, j), fv_json_free(c, a);
    if (fv_error(c)) sqa3d_free(c, l);
    return !fv_error(c);
}
void sqa3d_free(fv_ctx *c, situated_list *l) {
    for (int i = 0; i < l->count; i++)
        fv_free(c, l->item[i].scene), fv_free(c, l->item[i].situation), fv_free(c, l->item[i].question),
            fv_free(c, l->item[i].answer);
    fv_free(c, l->item);
    memset(l, 0, sizeof *l);
}
