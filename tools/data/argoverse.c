#include "argoverse.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIELDS = 6, LINE = 512, MOST_TRACKS = 4096 };
typedef struct csv {
    fv_file file;
    const char *at, *end, *path;
    int line;
    char text[LINE], *field[FIELDS];
} csv;

static int csv_open(fv_ctx *c, csv *r, const char *path) {
    memset(r, 0, sizeof *r);
    if (!fv_file_open(c, path, &r->file)) return 0;
    r->at = (const char *)r->file.data, r->end = r->at + r->file.size, r->path = path;
    return 1;
}
/* the next line's six fields; 0 at the end or on an error */
static int csv_next(fv_ctx *c, csv *r) {
    if (r->at >= r->end || fv_error(c)) return 0;
    const char *stop = (const char *)memchr(r->at, '\n', (size_t)(r->end - r->at));
    size_t n = (size_t)((stop ? stop : r->end) - r->at);
    r->line++;
    if (n >= LINE || memchr(r->at, 0, n))
        return fv_fail(c, FV_EFORMAT, "%s: line %d is no line of a CSV file", r->path, r->line);
    memcpy(r->text, r->at, n);
    if (n && r->text[n - 1] == '\r') n--;
    r->text[n] = 0, r->at = stop ? stop + 1 : r->end;
    int fields = 1;
    r->field[0] = r->text;
    for (char *p = r->text; *p; p++)
        if (*p == ',') {
            *p = 0;
            if (fields < FIELDS) r->field[fields] = p + 1;
            fields++;
        }
    if (fields != FIELDS)
        return fv_fail(c, FV_EFORMAT, "%s: line %d has %d fields instead of %d", r->path, r->line, fields,
                       FIELDS);
    return 1;
}
static int csv_header(fv_ctx *c, csv *r, const char *const *want) {
    if (!csv_next(c, r)) return fv_error(c) ? 0 : fv_fail(c, FV_EFORMAT, "%s: the file is empty", r->path);
    for (int i = 0; i < FIELDS; i++)
        if (strcmp(r->field[i], want[i]))
            return fv_fail(c, FV_EFORMAT, "%s: column %d is \"%.30s\", not %s", r->path, i + 1, r->field[i],
                           want[i]);
    return 1;
}
static double csv_number(fv_ctx *c, const csv *r, int field, double most) {
    char *end;
    double v = strtod(r->field[field], &end);
    if (end == r->field[field] || *end || !(fabs(v) <= most))
        fv_fail(c, FV_EFORMAT, "%s: line %d: \"%.30s\" is no number below %.0e", r->path, r->line,
                r->field[field], most);
    return v;
}

typedef struct row {
    double time;
    float at[2];
    int track;
} row;
static int by_time(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static int track_of(fv_ctx *c, const csv *r, traffic *t, int *room) {
    const char *id = r->field[1], *kind = r->field[2];
    for (int i = 0; i < t->tracks; i++)
        if (!strcmp(t->track[i].id, id)) return i;
    if (!*id || strlen(id) >= sizeof t->track->id || t->tracks == MOST_TRACKS)
        return fv_fail(c, FV_EFORMAT, "%s: line %d: TRACK_ID is empty or too long, or there are over %d",
                       r->path, r->line, MOST_TRACKS),
               -1;
    if (t->tracks == *room) {
        int more_room = *room ? 2 * *room : 16;
        track *more = (track *)fv_alloc(c, (size_t)more_room * sizeof *more);
        if (!more) return -1;
        if (t->track) memcpy(more, t->track, (size_t)t->tracks * sizeof *more), fv_free(c, t->track);
        t->track = more, *room = more_room;
    }
    track *one = &t->track[t->tracks];
    memset(one, 0, sizeof *one);
    snprintf(one->id, sizeof one->id, "%s", id);
    one->type = !strcmp(kind, "AGENT") ? TRACK_AGENT : !strcmp(kind, "AV") ? TRACK_AV : TRACK_OTHER;
    if (one->type == TRACK_AGENT && t->agent >= 0)
        return fv_fail(c, FV_EFORMAT, "%s: line %d: a second AGENT", r->path, r->line), -1;
    if (one->type == TRACK_AGENT) t->agent = t->tracks;
    return t->tracks++;
}

static void traffic_rows(fv_ctx *c, csv *r, traffic *t, row *rows, double *times, int room_rows) {
    int n = 0, room = 0, steps = 0;
    while (n < room_rows && csv_next(c, r)) {
        rows[n].time = times[n] = csv_number(c, r, 0, 1e12);
        rows[n].at[0] = (float)csv_number(c, r, 3, 1e6), rows[n].at[1] = (float)csv_number(c, r, 4, 1e6);
        rows[n].track = fv_error(c) ? -1 : track_of(c, r, t, &room);
        if (n == 0) snprintf(t->city, sizeof t->city, "%.15s", r->field[5]);
        if (rows[n].track < 0) return;
        n++;
    }
    if (fv_error(c)) return;
    qsort(times, (size_t)n, sizeof *times, by_time);
    for (int i = 0; i < n; i++)
        if (!steps || times[i] > times[steps - 1]) times[steps++] = times[i];
    if (steps != MOTION_SEEN && steps != MOTION_STEPS) {
        fv_fail(c, FV_EFORMAT, "%s: %d different times; %d (observed) or %d (with the future) are wanted",
                r->path, steps, MOTION_SEEN, MOTION_STEPS);
        return;
    }
    t->steps = steps;
    for (int i = 0; i < n; i++) {
        const double *found =
            (const double *)bsearch(&rows[i].time, times, (size_t)steps, sizeof *times, by_time);
        track *one = &t->track[rows[i].track];
        int step = (int)(found - times);
        if (one->seen[step]) {
            fv_fail(c, FV_EFORMAT, "%s: track %s is at two places at time %.3f", r->path, one->id,
                    rows[i].time);
            return;
        }
        one->seen[step] = 1, memcpy(one->at[step], rows[i].at, sizeof rows[i].at);
    }
    if (t->agent < 0) fv_fail(c, FV_EFORMAT, "%s: there is no AGENT", r->path);
    for (int i = 0; i < steps && !fv_error(c); i++)
        if (!t->track[t->agent].seen[i])
            fv_fail(c, FV_EFORMAT, "%s: the AGENT is missing at step %d", r->path, i);
}

int traffic_read(fv_ctx *c, const char *path, traffic *t) {
    static const char *const want[FIELDS] = {"TIMESTAMP", "TRACK_ID", "OBJECT_TYPE", "X", "Y", "CITY_NAME"};
    const char *name = strrchr(path, '/');
    csv r;
    memset(t, 0, sizeof *t);
    t->agent = -1;
    snprintf(t->name, sizeof t->name, "%.63s", name ? name + 1 : path);
    if (!csv_open(c, &r, path)) return 0;
    int room = 1;
    for (const char *p = r.at; p < r.end; p++) room += *p == '\n';
    row *rows = NULL;
    double *times = NULL;
    if (csv_header(c, &r, want)) {
        rows = (row *)fv_alloc(c, (size_t)room * sizeof *rows),
        times = (double *)fv_alloc(c, (size_t)room * sizeof *times);
        if (rows && times) traffic_rows(c, &r, t, rows, times, room);
    }
    fv_free(c, rows), fv_free(c, times), fv_file_close(c, &r.file);
    if (fv_error(c)) traffic_free(c, t);
    return !fv_error(c);
}
void traffic_free(fv_ctx *c, traffic *t) { fv_free(c, t->track), t->track = NULL; }

int lanes_read(fv_ctx *c, const char *path, lane_map *m) {
    static const char *const want[FIELDS] = {
        "LANE_ID", "X", "Y", "TURN_DIRECTION", "IS_INTERSECTION", "HAS_TRAFFIC_CONTROL"};
    csv r;
    char before[LINE] = "";
    memset(m, 0, sizeof *m);
    if (!csv_open(c, &r, path)) return 0;
    int room = 1;
    for (const char *p = r.at; p < r.end; p++) room += *p == '\n';
    if (csv_header(c, &r, want)) {
        m->lane = (lane *)fv_alloc(c, (size_t)room * sizeof *m->lane);
        m->point = (float(*)[2])fv_alloc(c, (size_t)room * sizeof *m->point);
    }
    while (m->point && csv_next(c, &r)) {
        if (!m->lanes || strcmp(before, r.field[0])) {
            lane *l = &m->lane[m->lanes++];
            l->first = m->points, l->count = 0;
            l->turn = !strcmp(r.field[3], "LEFT") ? 1 : !strcmp(r.field[3], "RIGHT") ? -1 : 0;
            l->junction = !strcmp(r.field[4], "True"), l->control = !strcmp(r.field[5], "True");
            snprintf(before, sizeof before, "%s", r.field[0]);
        }
        m->point[m->points][0] = (float)csv_number(c, &r, 1, 1e6),
        m->point[m->points][1] = (float)csv_number(c, &r, 2, 1e6);
        m->points++, m->lane[m->lanes - 1].count++;
    }
    for (int i = 0; i < m->lanes && !fv_error(c); i++)
        if (m->lane[i].count < 2)
            fv_fail(c, FV_EFORMAT, "%s: lane %d (counted from 0) has less than two points", path, i);
    fv_file_close(c, &r.file);
    if (fv_error(c)) lanes_free(c, m);
    return !fv_error(c);
}
void lanes_free(fv_ctx *c, lane_map *m) {
    fv_free(c, m->lane), fv_free(c, m->point), memset(m, 0, sizeof *m);
}
