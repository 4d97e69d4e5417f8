/* rooms.c -- rooms with situated questions. The settings below were fixed before the first training run.
 *
 * A room is 4 to 8 m by 4 to 8 m. It holds 5 to 9 objects of 16 kinds in 8 colours, at least 0.7 m apart; a
 * kind comes up to 4 times. One stands somewhere in it, at least 0.6 m from any object, and looks in a
 * direction of ones own. Questions are asked only where the answer is clear: a direction means within 35
 * degrees of straight ahead, left, right or back, and what is nearest is so by 0.4 m. Each question draws its
 * type first and then an answer, so that no answer is likelier than its type makes it. */
#include "scenes.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { TRAIN_ROOMS = 2000, TEST_ROOMS = 150, QUESTIONS = 20, KINDS = 16, COLOURS = 8, TRIES = 200 };
static const char *const kind_name[KINDS] = {"chair", "table", "bed",    "sofa",   "lamp",    "shelf",
                                             "desk",  "plant", "screen", "fridge", "cabinet", "stool",
                                             "box",   "bin",   "piano",  "clock"};
static const float kind_size[KINDS][3] = {
    {.5f, .5f, .9f},  {1.2f, .8f, .75f}, {2, 1.4f, .5f},    {1.8f, .8f, .8f},
    {.3f, .3f, 1.5f}, {.9f, .3f, 1.8f},  {1.3f, .6f, .75f}, {.4f, .4f, 1},
    {1, .1f, .6f},    {.7f, .7f, 1.8f},  {.8f, .5f, 1.2f},  {.4f, .4f, .5f},
    {.4f, .4f, .4f},  {.3f, .3f, .4f},   {1.5f, .6f, 1.2f}, {.3f, .1f, .3f}};
static const char *const colour_name[COLOURS] = {"red",   "green", "blue",  "yellow",
                                                 "white", "black", "brown", "orange"};
static const float colour_rgb[COLOURS][3] = {{.8f, .1f, .1f},    {.1f, .6f, .2f},    {.15f, .25f, .8f},
                                             {.9f, .85f, .2f},   {.95f, .95f, .95f}, {.08f, .08f, .08f},
                                             {.45f, .28f, .15f}, {.95f, .55f, .1f}};
/* every 90 degrees, to the left */
static const char *const side_name[4] = {"in front of me", "to my left", "behind me", "to my right"};
enum { AHEAD, LEFT, BACK, RIGHT };

typedef struct room {
    int count, kind[16], colour[16];
    float at[16][2], width, depth, me[2], heading;
} room;

static float between(fv_rng *r, float a, float b) { return a + (b - a) * fv_rng_uniform(r); }
static float apart(const float *a, const float *b) { return hypotf(a[0] - b[0], a[1] - b[1]); }
static int below(fv_rng *r, int n) { return (int)fv_rng_below(r, (uint32_t)n); }

static int place(fv_rng *r, const room *m, float *at, float gap, float margin) {
    for (int t = 0; t < TRIES; t++) {
        int free = 1;
        at[0] = between(r, margin, m->width - margin), at[1] = between(r, margin, m->depth - margin);
        for (int i = 0; i < m->count; i++) free &= apart(at, m->at[i]) >= gap;
        if (free) return 1;
    }
    return 0;
}

static void make_room(fv_rng *r, room *m) {
    int wanted = 5 + below(r, 5), of[KINDS] = {0};
    memset(m, 0, sizeof *m);
    m->width = between(r, 4, 8), m->depth = between(r, 4, 8);
    while (m->count < wanted) {
        int again = m->count > 0 && below(r, 3) == 0,
            k = again ? m->kind[below(r, m->count)] : below(r, KINDS);
        if (of[k] == 4) continue;
        if (!place(r, m, m->at[m->count], 0.7f, 0.3f)) break;
        m->kind[m->count] = k, m->colour[m->count] = below(r, COLOURS), of[k]++, m->count++;
    }
}
/* where one stands, anew for every question */
static void stand(fv_rng *r, room *m) {
    /* a full room loses an object: it does not happen at these sizes */
    while (!place(r, m, m->me, 0.6f, 0.3f)) m->count--;
    m->heading = between(r, -3.14159265f, 3.14159265f);
}

/* the side an object is on, or -1 near a diagonal */
static int side_of(const room *m, int i) {
    float a = atan2f(m->at[i][1] - m->me[1], m->at[i][0] - m->me[0]) - m->heading, quarter = 1.57079633f;
    float turns = a / quarter, whole = floorf(turns + 0.5f);
    return fabsf(turns - whole) * 90 > 35 ? -1 : (((int)whole % 4) + 4) % 4;
}
static int count_kind(const room *m, int kind) {
    int n = 0;
    for (int i = 0; i < m->count; i++) n += m->kind[i] == kind;
    return n;
}
/* the object alone on that side, within 35 degrees, none nearer than it by less than 0.4 m; -1 */
static int nearest_on(const room *m, int side) {
    int best = -1;
    for (int i = 0; i < m->count; i++)
        if (side_of(m, i) == side && (best < 0 || apart(m->at[i], m->me) < apart(m->at[best], m->me)))
            best = i;
    for (int i = 0; i < m->count && best >= 0; i++) {
        float a =
            atan2f(m->at[i][1] - m->me[1], m->at[i][0] - m->me[0]) - m->heading - 1.57079633f * (float)side;
        /* another one within 53 degrees, less than 0.4 m farther away */
        if (i != best && cosf(a) > 0.6f && apart(m->at[i], m->me) < apart(m->at[best], m->me) + 0.4f)
            return -1;
    }
    return best;
}

typedef struct question {
    char situation[160], text[120], answer[32];
    int wanted; /* the answer drawn beforehand, 0 to 3 */
} question;

static int ask_what(fv_rng *r, const room *m, question *q) {
    int side = below(r, 4), i = nearest_on(m, side);
    if (i < 0) return 0;
    snprintf(q->text, sizeof q->text, "What is the nearest thing %s?", side_name[side]);
    snprintf(q->answer, sizeof q->answer, "%s", kind_name[m->kind[i]]);
    return 1;
}
static int ask_many(fv_rng *r, const room *m, question *q) {
    int k = below(r, KINDS), wanted = q->wanted;
    if (count_kind(m, k) != wanted) return 0;
    snprintf(q->text, sizeof q->text, "How many of the things here are a %s?", kind_name[k]);
    snprintf(q->answer, sizeof q->answer, "%d", wanted);
    return 1;
}
static int ask_is(fv_rng *r, const room *m, question *q) {
    int yes = q->wanted < 2, side = below(r, 4), k = below(r, KINDS), there = 0;
    for (int i = 0; i < m->count; i++)
        if (m->kind[i] == k) {
            if (side_of(m, i) < 0) return 0;
            there |= side_of(m, i) == side;
        }
    if (there != yes || !count_kind(m, k)) return 0; /* it is in the room, here or elsewhere */
    snprintf(q->text, sizeof q->text, "Is there a %s %s?", kind_name[k], side_name[side]);
    snprintf(q->answer, sizeof q->answer, yes ? "yes" : "no");
    return 1;
}
static int ask_nearer(fv_rng *r, const room *m, question *q) {
    int i = below(r, m->count), k = below(r, m->count);
    float a = apart(m->at[i], m->me), b = apart(m->at[k], m->me);
    if (count_kind(m, m->kind[i]) != 1 || count_kind(m, m->kind[k]) != 1 || fabsf(a - b) < 0.4f) return 0;
    snprintf(q->text, sizeof q->text, "Which is nearer to me, the %s or the %s?", kind_name[m->kind[i]],
             kind_name[m->kind[k]]);
    snprintf(q->answer, sizeof q->answer, "%s", kind_name[m->kind[a < b ? i : k]]);
    return 1;
}
static int ask_colour(fv_rng *r, const room *m, question *q) {
    int i = below(r, m->count);
    if (count_kind(m, m->kind[i]) != 1) return 0;
    snprintf(q->text, sizeof q->text, "What colour is the %s?", kind_name[m->kind[i]]);
    snprintf(q->answer, sizeof q->answer, "%s", colour_name[m->colour[i]]);
    return 1;
}
static int ask_side(fv_rng *r, const room *m, question *q) {
    int i = below(r, m->count), side = side_of(m, i);
    if (count_kind(m, m->kind[i]) != 1 || side < 0) return 0;
    snprintf(q->text, sizeof q->text, "Where is the %s from where I stand?", kind_name[m->kind[i]]);
    static const char *const answer[4] = {"ahead", "left", "behind", "right"};
    snprintf(q->answer, sizeof q->answer, "%s", answer[side]);
    return 1;
}

static void ask(fv_rng *r, room *m, question *q) {
    static int (*const kinds[6])(fv_rng *, const room *, question *) = {ask_what,   ask_many,   ask_is,
                                                                        ask_nearer, ask_colour, ask_side};
    int type = below(r, 6);
    q->wanted = below(r, 4);
    for (int t = 1;; t++) {
        if (t % TRIES == 0) type = below(r, 6), q->wanted = below(r, 4); /* this room has no such question */
        stand(r, m);
        if (kinds[type](r, m, q)) break;
    }
    int beside = 0; /* the situation names what is nearest, as a person would */
    for (int i = 1; i < m->count; i++)
        if (apart(m->at[i], m->me) < apart(m->at[beside], m->me)) beside = i;
    static const char *const where[4] = {"facing the", "with my left side to the", "with my back to the",
                                         "with my right side to the"};
    float a = atan2f(m->at[beside][1] - m->me[1], m->at[beside][0] - m->me[0]) - m->heading;
    int side = (((int)floorf(a / 1.57079633f + 0.5f) % 4) + 4) % 4;
    snprintf(q->situation, sizeof q->situation, "I am standing %s %s %s.", where[side],
             colour_name[m->colour[beside]], kind_name[m->kind[beside]]);
}

static int write_scene(fv_ctx *c, fv_rng *r, const char *dir, const char *id, const room *m) {
    char path[4400];
    fv_text t = {0};
    fv_text_add(c, &t, "{\"objects\":[");
    for (int i = 0; i < m->count; i++) {
        const float *s = kind_size[m->kind[i]], *k = colour_rgb[m->colour[i]];
        float g = between(r, 0.85f, 1.15f), rgb[3];
        for (int n = 0; n < 3; n++) rgb[n] = fminf(1, fmaxf(0, k[n] + between(r, -0.05f, 0.05f)));
        fv_text_add(c, &t,
                    "%s{\"label\":\"%s\",\"center\":[%.3f,%.3f,%.3f],\"size\":[%.3f,%.3f,%.3f],\"color\":[%."
                    "3f,%.3f,%.3f]}",
                    i ? ",\n" : "\n", kind_name[m->kind[i]], (double)m->at[i][0], (double)m->at[i][1],
                    (double)(g * s[2] / 2), (double)(g * s[0]), (double)(g * s[1]), (double)(g * s[2]),
                    (double)rgb[0], (double)rgb[1], (double)rgb[2]);
    }
    fv_text_add(c, &t, "]}\n");
    snprintf(path, sizeof path, "%s/scenes/%s.json", dir, id);
    int ok = fv_write_file(c, path, t.data, t.size);
    fv_text_free(c, &t);
    return ok;
}

static int write_split(fv_ctx *c, const char *dir, int test) {
    char path[4400], id[32];
    fv_text ask_text = {0}, note = {0};
    int number = 0;
    fv_text_add(c, &ask_text, "{\"data_type\":\"balanced\",\"questions\":[");
    fv_text_add(c, &note, "{\"data_type\":\"balanced\",\"annotations\":[");
    for (int i = 0; i < (test ? TEST_ROOMS : TRAIN_ROOMS) && !fv_error(c); i++) {
        fv_rng r = {2026, (uint64_t)(2 * i + test), 0};
        room m;
        question q;
        make_room(&r, &m);
        snprintf(id, sizeof id, "%s%04d_00", test ? "test" : "room", i);
        write_scene(c, &r, dir, id, &m);
        for (int k = 0; k < QUESTIONS; k++, number++) {
            ask(&r, &m, &q);
            double turn = (double)m.heading - 1.57079633; /* without a turn one looks along y */
            fv_text_add(c, &ask_text,
                        "%s{\"scene_id\":\"%s\",\"situation\":\"%s\",\"alternative_situation\":[],"
                        "\"question\":\"%s\",\"question_id\":%d}",
                        number ? ",\n" : "\n", id, q.situation, q.text, number);
            fv_text_add(c, &note,
                        "%s{\"scene_id\":\"%s\",\"question_id\":%d,\"answers\":[{\"answer\":\"%s\",\"answer_"
                        "confidence\":\"yes\",\"answer_id\":1}],"
                        "\"position\":{\"x\":%.4f,\"y\":%.4f,\"z\":0},\"rotation\":{\"_x\":0,\"_y\":0,\"_z\":"
                        "%.6f,\"_w\":%.6f}}",
                        number ? ",\n" : "\n", id, number, q.answer, (double)m.me[0], (double)m.me[1],
                        sin(turn / 2), cos(turn / 2));
        }
    }
    fv_text_add(c, &ask_text, "]}\n"), fv_text_add(c, &note, "]}\n");
    snprintf(path, sizeof path, "%s/v1_balanced_questions_%s_scannetv2.json", dir, test ? "test" : "train");
    int ok = fv_write_file(c, path, ask_text.data, ask_text.size);
    snprintf(path, sizeof path, "%s/v1_balanced_sqa_annotations_%s_scannetv2.json", dir,
             test ? "test" : "train");
    ok = ok && fv_write_file(c, path, note.data, note.size);
    fv_text_free(c, &ask_text), fv_text_free(c, &note);
    return ok;
}

int rooms_write(fv_ctx *c, const char *dir) {
    char path[4400];
    snprintf(path, sizeof path, "%s/scenes", dir);
    if (mkdir(path, 0777)) return fv_fail(c, FV_EIO, "%s: the folder cannot be made", path);
    return write_split(c, dir, 0) && write_split(c, dir, 1);
}
