/* scene-qa: situated questions about rooms. Data: SQA3D's layout
 * (v1_balanced_questions_{train,test}_scannetv2.json,
 * v1_balanced_sqa_annotations_{train,test}_scannetv2.json) and scenes/ID.json or ID.xyz (see data/scenes.h).
 *
 * What the network sees of an object, from where the questioner stands and looks (without a turn along +y,
 * turned about z):
 *   right, ahead, up, distance (5 metres are 1); sine and cosine of its direction; its width, depth, height
 *     (metres); red, green, blue; whether the question names it, whether the situation does; and one 1 for
 *     its
 *     label.
 * That a word of the text is the label is told as a feature (exact match, Chen et al., arXiv:1704.00051),
 * since from 40,000 questions neither this network nor one of PyTorch learns by itself to bind words to
 * labels. Labels are learnt from the training scenes: LABELS at most, what is beyond shares none. */
#include "../data/scenes.h"
#include "../data/sqa3d.h"
#include "../draw.h"
#include "qa.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEEN = 14, LABELS = 64 };
typedef struct scene_data {
    qa_set q;
    scene *scene;
    int scenes, room, labels, poses_room[2];
    char label[LABELS][32];
    pose *pose[2]; /* of each question */
} scene_data;

static const char *presets[][2] = {
    {"demo-scene-qa", "arch=scene_qa dim=128 num_heads=4 text_depth=1 image_depth=2 fusion_depth=2 "
                      "batch_size=64 epochs=4 lr=1e-3 precision=bf16 warmup_epochs=0.3 "
                      "weight_decay=0.05 clip_grad=1"},
    {NULL, NULL}};
static const char *const keys[] = {"blind", "words", NULL};

static int scene_number(run *r, scene_data *d, const char *dir, const char *id) {
    char path[4400];
    for (int i = d->scenes - 1; i >= 0; i--) /* questions of a scene stand together */
        if (!strcmp(d->scene[i].id, id)) return i;
    if (d->scenes == d->room) {
        int room = d->room ? 2 * d->room : 64;
        scene *more = (scene *)fv_alloc(r->c, (size_t)room * sizeof *more);
        if (!more) return -1;
        if (d->scene) memcpy(more, d->scene, (size_t)d->scenes * sizeof *more), fv_free(r->c, d->scene);
        d->scene = more, d->room = room;
    }
    if (!*id || strlen(id) > 63 || strchr(id, '/'))
        return fv_fail(r->c, FV_EFORMAT, "%s: \"%.70s\" is no scene_id", r->data_path, id), -1;
    snprintf(path, sizeof path, "%s/scenes/%s", dir, id);
    return scene_read(r->c, path, &d->scene[d->scenes]) ? d->scenes++ : -1;
}

static const char *type_of_question(const char *text) { /* as SQA3D groups them: by the first word */
    static const char *const first[] = {"What", "Is", "How", "Can", "Which"}, *const name[] = {"what", "is",
                                                                                               "how", "can",
                                                                                               "which"};
    for (int k = 0; k < 5; k++)
        if (!strncmp(text, first[k], strlen(first[k])) || !strncmp(text, name[k], strlen(name[k])))
            return name[k];
    return "other";
}

static int add_question(run *r, scene_data *d, const char *dir, int split, const situated *one) {
    char text[1024];
    int where = scene_number(r, d, dir, one->scene), n = d->q.split[split].count;
    if (where < 0) return 0;
    if (n == d->poses_room[split]) {
        int room = n ? 2 * n : 256;
        pose *more = (pose *)fv_alloc(r->c, (size_t)room * sizeof *more);
        if (!more) return 0;
        if (n) memcpy(more, d->pose[split], (size_t)n * sizeof *more), fv_free(r->c, d->pose[split]);
        d->pose[split] = more, d->poses_room[split] = room;
    }
    d->pose[split][n] = one->p;
    snprintf(text, sizeof text, "%s %s", one->question,
             one->situation); /* what is cut from a long text is the situation's end */
    qa_item *added = qa_add(r, &d->q, split, where, text, one->answer, type_of_question(one->question));
    if (!added) return 0;
    snprintf(added->text, strlen(added->text) + 1, "%s %s", one->situation,
             one->question); /* shown, and compared by the question alone: situation first */
    added->question = (int32_t)strlen(one->situation) + 1;
    return 1;
}

static int read_split(run *r, scene_data *d, const char *dir, int split) {
    char path[4400], notes[4400];
    const char *name = split ? "test" : "train";
    situated_list l;
    snprintf(path, sizeof path, "%s/v1_balanced_questions_%s_scannetv2.json", dir, name);
    snprintf(notes, sizeof notes, "%s/v1_balanced_sqa_annotations_%s_scannetv2.json", dir, name);
    if (!sqa3d_read(r->c, path, notes, &l)) return 0;
    for (int i = 0; i < l.count && add_question(r, d, dir, split, &l.item[i]); i++)
        ;
    sqa3d_free(r->c, &l);
    return !fv_error(r->c);
}

static int label_number(const scene_data *d, const char *label) {
    for (int i = 0; i < d->labels; i++)
        if (!strcmp(d->label[i], label)) return i;
    return -1;
}

static int scene_open(run *r, const char *dir) {
    scene_data *d = (scene_data *)fv_alloc(r->c, sizeof *d);
    r->data = d;
    if (!d || !qa_open(r, &d->q) || !read_split(r, d, dir, 0)) return 0;
    for (int i = 0; i < d->scenes; i++) /* of the training scenes, in their order */
        for (int k = 0; k < d->scene[i].count; k++)
            if (d->labels < LABELS && *d->scene[i].object[k].label &&
                label_number(d, d->scene[i].object[k].label) < 0)
                memcpy(d->label[d->labels++], d->scene[i].object[k].label, 32);
    if (!read_split(r, d, dir, 1)) return 0;
    qa_put_settings(r, &d->q);
    if (!r->model) put_number(&r->s, 'm', "object_features", SEEN + d->labels);
    if ((int)number_of(&r->s, 'm', "object_features", 0) != SEEN + d->labels)
        return fv_fail(r->c, FV_EUSAGE, "%s: the training scenes have %d labels, the network knows %d", dir,
                       d->labels, (int)number_of(&r->s, 'm', "object_features", 0) - SEEN);
    return 1;
}
static void scene_close(run *r) {
    scene_data *d = (scene_data *)r->data;
    qa_close(r, &d->q);
    fv_free(r->c, d->pose[0]), fv_free(r->c, d->pose[1]), fv_free(r->c, d->scene), fv_free(r->c, d);
    r->data = NULL;
}

/* whether a label stands in a text, as whole words or with an s */
static float names(const char *text, const char *label) {
    size_t n = strlen(label);
    for (const char *at = n ? strstr(text, label) : NULL; at; at = strstr(at + 1, label)) {
        char after = at[n] == 's' ? at[n + 1] : at[n], before = at == text ? ' ' : at[-1];
        if (!isalnum((unsigned char)after) && !isalnum((unsigned char)before)) return 1;
    }
    return 0;
}

static void features(const scene_data *d, const scene_object *o, const pose *p, const qa_item *q, float *to) {
    float x = o->centre[0] - p->at[0], y = o->centre[1] - p->at[1], far = sqrtf(x * x + y * y) + 1e-6f;
    to[0] = x * p->forward[1] - y * p->forward[0], to[1] = x * p->forward[0] + y * p->forward[1],
    to[2] = o->centre[2] - p->at[2];
    to[3] = far, to[4] = to[0] / far, to[5] = to[1] / far;
    for (int k = 0; k < 4; k++) to[k] /= 5;
    to[12] = names(q->text + q->question, o->label), to[13] = names(q->text, o->label) - to[12];
    for (int k = 0; k < 3; k++) to[6 + k] = o->size[k], to[9 + k] = 2 * o->colour[k] - 1;
    int n = label_number(d, o->label);
    if (n >= 0) to[SEEN + n] = 1;
}

static int scene_batch(run *r, int split, const int32_t *index, int n, int epoch, batch *b) {
    scene_data *d = (scene_data *)r->data;
    int most = 1, blind = number_of(&r->s, 't', "blind", 0) > 0;
    (void)epoch;
    if (!qa_batch(r, &d->q, split, index, n, b)) return 0;
    for (int i = 0; i < n; i++) {
        int count = d->scene[d->q.split[split].item[run_other(r, split, index[i])].scene].count;
        if (count > most) most = count;
    }
    int64_t F = SEEN + d->labels, dim[3] = {n, most, F};
    fv_tensor *x = b->input[b->inputs++] = fv_new(r->c, FV_F32, 3, dim),
              *mask = b->input[b->inputs++] = fv_new(r->c, FV_U8, 2, dim);
    if (!x || !mask) return 0;
    memset(x->data, 0, (size_t)fv_numel(x) * sizeof(float)), memset(mask->data, 0, (size_t)fv_numel(mask));
    for (int i = 0; i < n; i++) {
        int other = run_other(r, split, index[i]);
        const scene *s = &d->scene[d->q.split[split].item[other].scene];
        for (int k = 0; k < s->count; k++) {
            ((uint8_t *)mask->data)[i * most + k] = 1;
            if (!blind)
                features(d, &s->object[k], &d->pose[split][other], &d->q.split[split].item[index[i]],
                         (float *)x->data + (i * most + k) * F);
        }
    }
    return 1;
}
/* SQA3D's baseline takes one answer of many */
static fv_tensor *scene_loss(run *r, fv_tensor *y, const batch *b) {
    return fv_cross_entropy(r->c, y, b->target[0], 0);
}
static int scene_measure(run *r, int split, int from, int count, figures *f) {
    return qa_measure(r, &((scene_data *)r->data)->q, split, from, count, "EM@1", "EM@10", f);
}
static int scene_baselines(run *r, figures *f) { return qa_baselines(r, &((scene_data *)r->data)->q, f); }

/* ---- a room from above, as the questioner sees it: straight ahead is up ---- */
typedef struct spot {
    double x, y, radius; /* in pixels */
    const scene_object *object;
} spot;
typedef struct box {
    double x, y, w, h;
} box;
static int overlap(const box *a, const box *b) {
    return a->x < b->x + b->w && b->x < a->x + a->w && a->y < b->y + b->h && b->y < a->y + a->h;
}
/* How ill a label stands: over the panel's edge, other labels, discs */
static double crowding(const box *label, const box *panel, const box *taken, int count, const spot *s,
                       int spots) {
    double bad = 0;
    bad += label->x < panel->x || label->y < panel->y || label->x + label->w > panel->x + panel->w ||
                   label->y + label->h > panel->y + panel->h
               ? 100
               : 0;
    for (int i = 0; i < count; i++) bad += overlap(label, &taken[i]) ? 10 : 0;
    for (int i = 0; i < spots; i++) {
        box disc = {s[i].x - s[i].radius, s[i].y - s[i].radius, 2 * s[i].radius, 2 * s[i].radius};
        bad += overlap(label, &disc) ? 2 : 0;
    }
    return bad;
}
/* each label to the right, left, above or below its disc, where it stands best */
static void draw_labels(canvas *v, const box *panel, const spot *s, int spots) {
    box taken[SCENE_OBJECTS + 1] = {
        {panel->x + panel->w / 2 - 9, panel->y + panel->h / 2 - 24, 18, 32}}; /* the questioner */
    for (int i = 0; i < spots; i++) {
        double w = 6.6 * (double)strlen(s[i].object->label) + 2, h = 12, r = s[i].radius + 3, least = 1e9;
        const box place[6] = {
            {s[i].x + r, s[i].y - 6, w, h},           {s[i].x - r - w, s[i].y - 6, w, h},
            {s[i].x - w / 2, s[i].y - r - h, w, h},   {s[i].x - w / 2, s[i].y + r, w, h},
            {s[i].x + 0.7 * r, s[i].y - r - 6, w, h}, {s[i].x + 0.7 * r, s[i].y + r - 6, w, h}};
        box best = place[0];
        for (int k = 0; k < 6; k++) {
            double bad = crowding(&place[k], panel, taken, i + 1, s, spots);
            if (bad < least) least = bad, best = place[k];
        }
        taken[i + 1] = best;
        draw_text(v, s[i].object->label, best.x + 1, best.y + 10, 11, 0x333333, 0);
    }
}
static void plan(canvas *v, const scene *s, const pose *p, double x, double y, double side) {
    double scale = side / 12;
    const box panel = {x, y, side, side};
    spot at[SCENE_OBJECTS];
    int n = 0;
    draw_box(v, x, y, side, side, 0xf4f1ea, 1);
    for (int i = 0; i < s->count; i++) {
        const scene_object *o = &s->object[i];
        double dx = o->centre[0] - p->at[0], dy = o->centre[1] - p->at[1];
        double right = dx * p->forward[1] - dy * p->forward[0],
               ahead = dx * p->forward[0] + dy * p->forward[1];
        spot one = {x + side / 2 + right * scale, y + side / 2 - ahead * scale,
                    fmax(0.25 * (o->size[0] + o->size[1]) * scale, 4), o};
        ink colour =
            (ink)(o->colour[0] * 255) << 16 | (ink)(o->colour[1] * 255) << 8 | (ink)(o->colour[2] * 255);
        if (one.x < x + 12 || one.x > x + side - 12 || one.y < y + 12 || one.y > y + side - 12) continue;
        draw_disc(v, one.x, one.y, one.radius + 1.2, 0x555555, 1),
            draw_disc(v, one.x, one.y, one.radius, colour, 1);
        at[n++] = one;
    }
    double cx = x + side / 2, cy = y + side / 2;
    draw_line(v, cx, cy, cx, cy - 18, 3, 0x0969da, 1),
        draw_line(v, cx, cy - 19, cx - 6, cy - 11, 3, 0x0969da, 1),
        draw_line(v, cx, cy - 19, cx + 6, cy - 11, 3, 0x0969da, 1);
    draw_disc(v, cx, cy, 6, 0x0969da, 1);
    draw_labels(v, &panel, at, n);
}

static int scene_draw(run *r, const int32_t *index, int n, const char *png) {
    const scene_data *d = (const scene_data *)r->data;
    const int cell = 300, across = n < 4 ? n : 4;
    canvas v = canvas_new(r->c, across * cell + 20, (n + across - 1) / across * 370 + 44);
    batch b;
    memset(&b, 0, sizeof b);
    fv_reset(r->c);
    fv_tensor *y = v.rgb && scene_batch(r, SPLIT_TEST, index, n, -1, &b) ? run_forward(r, &b) : NULL;
    if (y)
        draw_text(&v,
                  "rooms of 12 x 12 m from above; blue: the questioner, who looks up the page.  Answers: "
                  "green right, red wrong",
                  20, 26, 14, 0x333333, across * cell - 20);
    for (int i = 0; i < n && y; i++) {
        const qa_item *one = &d->q.split[1].item[index[i]];
        double x = 20 + i % across * cell, top = 44 + i / across * 370;
        int64_t K = y->dim[1], best = 0;
        char text[160];
        for (int64_t k = 1; k < K; k++)
            if (fv_get(y, i * K + k) > fv_get(y, i * K + best)) best = k;
        plan(&v, &d->scene[one->scene], &d->pose[1][index[i]], x, top, cell - 20);
        double at = draw_paragraph(&v, one->text, x, top + cell - 4, 13, 0x222222, cell - 20, 3);
        snprintf(text, sizeof text, best == one->answer ? "%s" : "%s (it is %s)",
                 best < r->classes ? r->class_names[best] : "?",
                 one->answer < 0 ? "?" : r->class_names[one->answer]);
        draw_text(&v, text, x, at + 3, 15, best == one->answer ? 0x1a7f37 : 0xcf222e, cell - 20);
    }
    int ok = y && canvas_save(r->c, &v, png);
    canvas_free(r->c, &v);
    return ok;
}

/* ---- a question about a room, FILE.json or FILE.xyz ---- */
/* "1.5,2,90" -> where one stands, and looks */
static int read_place(run *r, const char *text, pose *p) {
    double v[3] = {0, 0, 0};
    char *end = NULL;
    for (int k = 0; k < 3 && text; k++, text = *end ? end + 1 : end) {
        v[k] = strtod(text, &end);
        if (end == text || (k < 2 ? *end != ',' : *end != 0) || !(fabs(v[k]) < 1e4))
            return fv_fail(r->c, FV_EUSAGE, "--at X,Y,DEGREES: three numbers with commas between them");
    }
    const double turn = v[2] * 3.14159265358979 / 180;
    memset(p, 0, sizeof *p);
    p->at[0] = (float)v[0], p->at[1] = (float)v[1], p->forward[0] = (float)-sin(turn),
    p->forward[1] = (float)cos(turn);
    return 1;
}
static int scene_predict(run *r, const char *file, int json) {
    char path[4200], text[1024];
    const char *dot = strrchr(file, '.');
    scene s;
    pose p;
    qa_item one;
    batch b;
    memset(&b, 0, sizeof b), memset(&one, 0, sizeof one);
    if (!r->question)
        return fv_fail(r->c, FV_EUSAGE,
                       "scene-qa: --question TEXT says what is asked about %s, --situation TEXT and --at "
                       "X,Y,DEGREES from where",
                       file);
    if (!dot || (strcmp(dot, ".json") && strcmp(dot, ".xyz")) || strlen(file) > 4000)
        return fv_fail(r->c, FV_EUSAGE, "%s: a room is a .json or .xyz file", file);
    if (!run_open_data(r) || !read_place(r, r->place, &p)) return 0; /* the data say which labels there are */
    scene_data *d = (scene_data *)r->data;
    snprintf(path, sizeof path, "%.*s", (int)(dot - file), file);
    const char *situation = r->situation ? r->situation : "";
    if (strlen(situation) + strlen(r->question) > 1000)
        return fv_fail(r->c, FV_EUSAGE, "situation and question: 1,000 bytes together are read");
    snprintf(text, sizeof text, "%s %s", r->question, situation); /* in the order of training */
    if (!scene_read(r->c, path, &s) || !qa_text(r, &d->q, text, &b)) return 0;
    snprintf(text, sizeof text, "%s %s", situation, r->question);
    one.text = text, one.question = (int32_t)strlen(situation) + 1;
    int64_t dim[3] = {1, s.count, SEEN + d->labels};
    fv_tensor *x = b.input[b.inputs++] = fv_new(r->c, FV_F32, 3, dim),
              *mask = b.input[b.inputs++] = fv_new(r->c, FV_U8, 2, dim);
    if (!x || !mask) return 0;
    memset(x->data, 0, (size_t)fv_numel(x) * sizeof(float)), memset(mask->data, 1, (size_t)s.count);
    for (int k = 0; k < s.count; k++) features(d, &s.object[k], &p, &one, (float *)x->data + k * dim[2]);
    return qa_print(r, file, run_forward(r, &b), 1, json);
}

static int scene_demo(run *r, const char *dir, char fetched[][4096]) {
    (void)fetched;
    return rooms_write(r->c, dir);
}

extern const task task_scene_qa;
const task task_scene_qa = {
    .name = "scene-qa",
    .about = "situated questions about rooms",
    .items = "questions",
    .presets = presets,
    .keys = keys,
    .words = 1,
    .demo = scene_demo,
    .open = scene_open,
    .close = scene_close,
    .batch = scene_batch,
    .loss = scene_loss,
    .measure = scene_measure,
    .baselines = scene_baselines,
    .predict = scene_predict,
    .draw = scene_draw,
};
