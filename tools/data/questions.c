#include "questions.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- texts, each once ---- */
static uint32_t hash_of(const char *text) { /* FNV-1a */
    uint32_t h = 2166136261u;
    for (; *text; text++) h = (h ^ (uint8_t)*text) * 16777619u;
    return h;
}
/* where a text stands, or would */
static int slot_of(const name_table *t, const char *text) {
    int at = (int)(hash_of(text) & (uint32_t)(t->slots - 1));
    while (t->slot[at] && strcmp(t->text[t->slot[at] - 1], text)) at = (at + 1) & (t->slots - 1);
    return at;
}
static int more_names(fv_ctx *c, name_table *t) {
    int room = t->room ? 2 * t->room : 64, slots = 2 * room;
    char **text = (char **)fv_alloc(c, (size_t)room * sizeof *text);
    int32_t *slot = (int32_t *)fv_alloc(c, (size_t)slots * sizeof *slot); /* zeros */
    if (!text || !slot) return 0;
    if (t->count) memcpy(text, t->text, (size_t)t->count * sizeof *text);
    fv_free(c, t->text), fv_free(c, t->slot);
    t->text = text, t->slot = slot, t->room = room, t->slots = slots;
    for (int i = 0; i < t->count; i++) t->slot[slot_of(t, t->text[i])] = i + 1;
    return 1;
}
int name_add(fv_ctx *c, name_table *t, const char *text) {
    if (t->count == t->room && !more_names(c, t)) return -1;
    int at = slot_of(t, text);
    if (t->slot[at]) return t->slot[at] - 1;
    if (!(t->text[t->count] = (char *)fv_alloc(c, strlen(text) + 1))) return -1;
    memcpy(t->text[t->count], text, strlen(text) + 1);
    t->slot[at] = ++t->count;
    return t->count - 1;
}
void names_free(fv_ctx *c, name_table *t) {
    for (int i = 0; i < t->count; i++) fv_free(c, t->text[i]);
    fv_free(c, t->text), fv_free(c, t->slot);
    memset(t, 0, sizeof *t);
}

/* ---- answers as they are compared ---- */
static const char *digit_of(const char *word) {
    static const char *const name[] = {"none", "zero", "one",   "two",   "three", "four",
                                       "five", "six",  "seven", "eight", "nine",  "ten"};
    static const char *const digit[] = {"0", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"};
    for (int i = 0; i < 12; i++)
        if (!strcmp(word, name[i])) return digit[i];
    return word;
}
/* whether a mark stands beside a blank somewhere: then every such mark goes */
static int beside_blank(const char *text, char mark) {
    for (const char *p = strchr(text, mark); p; p = strchr(p + 1, mark))
        if (p[1] == ' ' || (p > text && p[-1] == ' ')) return 1;
    return 0;
}
void answer_plain(const char *text, char *plain) {
    static const char marks[] = ";/[]\"{}()=+\\_-><@`,?!";
    char bare[512], word[512];
    size_t n = 0, at = 0;
    int comma = 0, used;
    while (isspace((unsigned char)*text)) text++;
    for (const char *p = text; *p; p++)
        comma |= *p == ',' && p > text && isdigit((unsigned char)p[-1]) && isdigit((unsigned char)p[1]);
    for (const char *p = text; *p && n < sizeof bare - 1; p++) {
        char ch = isspace((unsigned char)*p) ? ' ' : *p;
        if (ch == '.' && !isdigit((unsigned char)p[1])) continue;
        if (!strchr(marks, ch)) bare[n++] = (char)tolower((unsigned char)ch);
        else if (!comma && !beside_blank(text, ch)) bare[n++] = ' ';
    }
    bare[n] = 0, plain[0] = 0;
    for (const char *p = bare; sscanf(p, "%511s%n", word, &used) == 1; p += used) {
        if (!strcmp(word, "a") || !strcmp(word, "an") || !strcmp(word, "the")) continue;
        const char *w = digit_of(word);
        for (const char *b = at ? " " : ""; *b; b++) plain[at++] = *b;
        for (; *w && at < ANSWER_BYTES - 1; w++) plain[at++] = *w;
        plain[at] = 0;
        if (at >= ANSWER_BYTES - 2) break;
    }
    for (n = at; n && ((unsigned char)plain[n - 1] & 0xc0) == 0x80;) n--; /* a character cut by half goes */
    if (n && (unsigned char)plain[n - 1] >= 0xc0) {
        unsigned char lead = (unsigned char)plain[n - 1];
        if (at - (n - 1) < (lead >= 0xf0 ? 4u : lead >= 0xe0 ? 3u : 2u)) plain[n - 1] = 0;
    }
}

/* ---- what both layouts share ---- */
static picture_question *new_question(fv_ctx *c, question_split *s, const char *text) {
    if (s->count == s->room) {
        int room = s->room ? 2 * s->room : 64;
        picture_question *more = (picture_question *)fv_alloc(c, (size_t)room * sizeof *more);
        if (!more) return NULL;
        if (s->count) memcpy(more, s->item, (size_t)s->count * sizeof *more);
        fv_free(c, s->item);
        s->item = more, s->room = room;
    }
    picture_question *a = &s->item[s->count];
    memset(a, 0, sizeof *a);
    if (!(a->text = (char *)fv_alloc(c, strlen(text) + 1))) return NULL;
    memcpy(a->text, text, strlen(text) + 1);
    a->kind = -1, s->count++;
    return a;
}
static int by_value(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}
/* id [count]: the picture of each question by its number in the files -> the list of pictures, and numbers in
 * it */
static int list_pictures(fv_ctx *c, question_split *s, const int64_t *id) {
    s->picture = (int64_t *)fv_alloc(c, (size_t)(s->count + 1) * sizeof *s->picture);
    if (!s->picture) return 0;
    memcpy(s->picture, id, (size_t)s->count * sizeof *id);
    qsort(s->picture, (size_t)s->count, sizeof *id, by_value);
    for (int i = 0; i < s->count; i++)
        if (!s->pictures || s->picture[i] > s->picture[s->pictures - 1])
            s->picture[s->pictures++] = s->picture[i];
    for (int i = 0; i < s->count; i++)
        s->item[i].picture =
            (int)((const int64_t *)bsearch(&id[i], s->picture, (size_t)s->pictures, sizeof *id, by_value) -
                  s->picture);
    return 1;
}
void questions_picture(const question_split *s, int picture, char *path, size_t n) {
    snprintf(path, n, "%s/%s%0*lld%s", s->folder, s->prefix, s->digits, (long long)s->picture[picture],
             s->ending);
}

/* a number without a fraction, from 0 to 12 digits; -1: something else */
static int64_t whole(const fv_json *j, fv_jnode n) {
    double v = fv_json_number(j, n, -1);
    return v >= 0 && v <= 999999999999.0 && floor(v) >= v ? (int64_t)v : -1;
}

/* ---- easy-vqa ---- */
static const char *type_of_easy(const char *text, const char *answer) {
    if (!strcmp(answer, "yes") || !strcmp(answer, "no")) return "yes_no";
    return strstr(text, "color") || strstr(text, "colour") ? "colour" : "what";
}
static int easy_rows(fv_ctx *c, const fv_json *j, const char *path, question_set *s, question_split *q,
                     int64_t *id) {
    int row = 0;
    for (fv_jnode e = fv_json_first(j, fv_json_root(j)); e; e = fv_json_next(j, e), row++) {
        const char *text = fv_json_string(j, fv_json_at(j, e, 0), NULL),
                   *answer = fv_json_string(j, fv_json_at(j, e, 1), NULL);
        id[row] = whole(j, fv_json_at(j, e, 2));
        if (fv_json_count(j, e) != 3 || !text || !*text || !answer || !*answer ||
            strlen(answer) >= ANSWER_BYTES || id[row] < 0)
            return fv_fail(c, FV_EFORMAT, "%s: entry %d is not [question, answer, picture's number]", path,
                           row);
        picture_question *a = new_question(c, q, text);
        if (!a || (a->answer = name_add(c, &s->answers, answer)) < 0 ||
            (a->type = name_add(c, &s->types, type_of_easy(text, answer))) < 0)
            return 0;
    }
    return 1;
}
int questions_easy(fv_ctx *c, const char *path, question_set *s, int split) {
    fv_json *j = fv_json_open(c, path);
    if (!j) return 0;
    int64_t *id = NULL;
    if (fv_json_type(j, fv_json_root(j)) != FV_JSON_ARRAY || !fv_json_count(j, fv_json_root(j)))
        fv_fail(c, FV_EFORMAT, "%s: a list of [question, answer, picture's number] is wanted", path);
    else if ((id = (int64_t *)fv_alloc(c, (size_t)fv_json_count(j, fv_json_root(j)) * sizeof *id)) &&
             easy_rows(c, j, path, s, &s->split[split], id))
        list_pictures(c, &s->split[split], id);
    fv_free(c, id), fv_json_free(c, j);
    return !fv_error(c);
}

/* ---- VQAv2 ---- */
typedef struct note {
    int64_t id;
    fv_jnode node;
} note; /* an annotation, by its question's number */
static note *notes_of(fv_ctx *c, const fv_json *j, const char *path, int questions) {
    fv_jnode list = fv_json_get(j, fv_json_root(j), "annotations");
    int n = fv_json_count(j, list), row = 0;
    if (fv_json_type(j, list) != FV_JSON_ARRAY || n != questions)
        return fv_fail(c, FV_EFORMAT, "%s: \"annotations\", a list of %d, one for each question, is wanted",
                       path, questions),
               (note *)NULL;
    note *notes = (note *)fv_alloc(c, (size_t)n * sizeof *notes);
    for (fv_jnode e = fv_json_first(j, list); e && notes; e = fv_json_next(j, e), row++) {
        notes[row].id = whole(j, fv_json_get(j, e, "question_id")), notes[row].node = e;
        if (notes[row].id < 0) fv_fail(c, FV_EFORMAT, "%s: annotation %d has no question_id", path, row);
    }
    if (notes) qsort(notes, (size_t)n, sizeof *notes, by_value); /* id stands first */
    for (int i = 1; i < n && notes && !fv_error(c); i++)
        if (notes[i].id == notes[i - 1].id)
            fv_fail(c, FV_EFORMAT, "%s: question_id %lld has two annotations", path, (long long)notes[i].id);
    if (fv_error(c)) fv_free(c, notes), notes = NULL;
    return notes;
}
static int type_name(fv_ctx *c, const fv_json *j, fv_jnode e, const char *key, question_set *s) {
    const char *text = fv_json_string(j, fv_json_get(j, e, key), NULL);
    return text && *text && strlen(text) < 32 ? name_add(c, &s->types, text) : -1;
}
/* an annotation's ten answers and the one said most */
static int read_note(fv_ctx *c, const fv_json *j, fv_jnode e, const char *path, question_set *s,
                     picture_question *a) {
    fv_jnode list = fv_json_get(j, e, "answers");
    long long id = (long long)whole(j, fv_json_get(j, e, "question_id"));
    const char *most = fv_json_string(j, fv_json_get(j, e, "multiple_choice_answer"), NULL);
    char plain[ANSWER_BYTES];
    if (!most || fv_json_type(j, list) != FV_JSON_ARRAY || fv_json_count(j, list) != ANSWERS_GIVEN)
        return fv_fail(c, FV_EFORMAT,
                       "%s: question_id %lld: multiple_choice_answer and a list of %d answers are wanted",
                       path, id, ANSWERS_GIVEN);
    answer_plain(most, plain), a->answer = name_add(c, &s->answers, plain);
    a->type = type_name(c, j, e, "answer_type", s), a->kind = type_name(c, j, e, "question_type", s);
    if (a->type < 0 || a->kind < 0)
        return fv_fail(c, FV_EFORMAT,
                       "%s: question_id %lld: answer_type and question_type, of at most 31 bytes, are wanted",
                       path, id);
    for (fv_jnode g = fv_json_first(j, list); g && !fv_error(c); g = fv_json_next(j, g)) {
        const char *text = fv_json_string(j, fv_json_get(j, g, "answer"), NULL);
        if (!text)
            return fv_fail(c, FV_EFORMAT, "%s: question_id %lld: its answer %d is no {\"answer\":text}", path,
                           id, a->givens);
        answer_plain(text, plain), a->given[a->givens++] = name_add(c, &s->answers, plain);
    }
    return !fv_error(c);
}
static int vqa2_rows(fv_ctx *c, const fv_json *j, fv_jnode list, const fv_json *aj, const char *const *path,
                     const note *notes, question_set *s, int split, int64_t *id) {
    int row = 0, n = fv_json_count(j, list);
    for (fv_jnode e = fv_json_first(j, list); e; e = fv_json_next(j, e), row++) {
        const char *text = fv_json_string(j, fv_json_get(j, e, "question"), NULL);
        int64_t question = whole(j, fv_json_get(j, e, "question_id"));
        id[row] = whole(j, fv_json_get(j, e, "image_id"));
        if (!text || !*text || question < 0 || id[row] < 0)
            return fv_fail(
                c, FV_EFORMAT,
                "%s: question %d: question, question_id and image_id (at most 12 digits) are wanted", path[0],
                row);
        const note *found = (const note *)bsearch(&question, notes, (size_t)n, sizeof *notes, by_value);
        if (!found)
            return fv_fail(c, FV_EFORMAT, "%s: question_id %lld of question %d has no annotation", path[1],
                           (long long)question, row);
        if (whole(aj, fv_json_get(aj, found->node, "image_id")) != id[row])
            return fv_fail(c, FV_EFORMAT, "%s: question_id %lld: its image_id is not the question's", path[1],
                           (long long)question);
        picture_question *a = new_question(c, &s->split[split], text);
        if (!a || !read_note(c, aj, found->node, path[1], s, a)) return 0;
    }
    return 1;
}
int questions_vqa2(fv_ctx *c, const char *questions, const char *annotations, question_set *s, int split) {
    const char *path[2] = {questions, annotations};
    fv_json *j = fv_json_open(c, questions), *a = j ? fv_json_open(c, annotations) : NULL;
    fv_jnode list = a ? fv_json_get(j, fv_json_root(j), "questions") : 0;
    int n = fv_json_count(j, list);
    if (a && (fv_json_type(j, list) != FV_JSON_ARRAY || n < 1))
        fv_fail(c, FV_EFORMAT, "%s: \"questions\", a list, is wanted", questions);
    note *notes = fv_error(c) ? NULL : notes_of(c, a, annotations, n);
    int64_t *id = notes ? (int64_t *)fv_alloc(c, (size_t)n * sizeof *id) : NULL;
    s->people = 1;
    if (id && vqa2_rows(c, j, list, a, path, notes, s, split, id)) list_pictures(c, &s->split[split], id);
    fv_free(c, id), fv_free(c, notes), fv_json_free(c, a), fv_json_free(c, j);
    return !fv_error(c);
}

/* ---- a folder ---- */
/* DIR/name, or DIR/sub/name where that is there */
static const char *beside(const char *dir, const char *sub, const char *name, char *path, size_t n) {
    snprintf(path, n, "%s/%s/%s", dir, sub, name);
    if (access(path, F_OK)) snprintf(path, n, "%s/%s", dir, name);
    return path;
}
static int open_vqa2(fv_ctx *c, const char *dir, question_set *s) {
    static const char *const name[2] = {"train2014", "val2014"}, *const folder[3] = {"Images/mscoco/",
                                                                                     "images/", ""};
    char file[100], questions[4400], annotations[4400];
    for (int k = 0; k < 2 && !fv_error(c); k++) {
        snprintf(file, sizeof file, "v2_OpenEnded_mscoco_%s_questions.json", name[k]),
            beside(dir, "Questions", file, questions, sizeof questions);
        snprintf(file, sizeof file, "v2_mscoco_%s_annotations.json", name[k]),
            beside(dir, "Annotations", file, annotations, sizeof annotations);
        questions_vqa2(c, questions, annotations, s, k);
        question_split *q = &s->split[k];
        for (int f = 0; f < 3; f++) {
            snprintf(q->folder, sizeof q->folder, "%.4000s/%s%s", dir, folder[f], name[k]);
            if (!access(q->folder, F_OK)) break;
        }
        snprintf(q->prefix, sizeof q->prefix, "COCO_%s_", name[k]), q->digits = 12, q->ending = ".jpg";
    }
    return !fv_error(c);
}
static int open_easy(fv_ctx *c, const char *dir, question_set *s) {
    char path[4400];
    for (int k = 0; k < 2 && !fv_error(c); k++) {
        snprintf(path, sizeof path, "%s/%s/questions.json", dir, k ? "test" : "train");
        questions_easy(c, path, s, k);
        snprintf(s->split[k].folder, sizeof s->split[k].folder, "%.4000s/%s/images", dir,
                 k ? "test" : "train");
        s->split[k].digits = 1, s->split[k].ending = ".png";
    }
    return !fv_error(c);
}
static int pictures_there(fv_ctx *c, const question_split *s) {
    char path[4500];
    for (int i = 0; i < s->pictures; i++) {
        questions_picture(s, i, path, sizeof path);
        if (access(path, R_OK))
            return fv_fail(c, FV_EIO, "%s: a question asks about this picture, and it cannot be read", path);
    }
    return 1;
}
int questions_open(fv_ctx *c, const char *dir, question_set *s) {
    char path[4400];
    memset(s, 0, sizeof *s);
    int vqa2 = !access(
        beside(dir, "Questions", "v2_OpenEnded_mscoco_train2014_questions.json", path, sizeof path), F_OK);
    if (vqa2 ? open_vqa2(c, dir, s) : open_easy(c, dir, s))
        for (int k = 0; k < 2 && !fv_error(c); k++) pictures_there(c, &s->split[k]);
    if (fv_error(c)) questions_close(c, s);
    return !fv_error(c);
}
void questions_close(fv_ctx *c, question_set *s) {
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < s->split[k].count; i++) fv_free(c, s->split[k].item[i].text);
        fv_free(c, s->split[k].item), fv_free(c, s->split[k].picture);
    }
    names_free(c, &s->answers), names_free(c, &s->types);
    memset(s, 0, sizeof *s);
}
