/* argoverse.h -- scenes of motion forecasting: Argoverse 1's CSV files and lane centre lines, and a generator
 * of such scenes. */
#ifndef FV_ARGOVERSE_H
#define FV_ARGOVERSE_H
#include "frozenvis.h"

enum { MOTION_SEEN = 20, MOTION_STEPS = 50 }; /* 2 s observed, 3 s to come, at 10 Hz */
enum { TRACK_OTHER, TRACK_AV, TRACK_AGENT };
typedef struct track {
    char id[40];
    int type;
    float at[MOTION_STEPS][2]; /* metres */
    uint8_t seen[MOTION_STEPS];
} track;
typedef struct traffic {
    char name[64], city[16];
    int tracks, agent, steps; /* steps: 50, or 20 without a future */
    track *track;
} traffic;

/* A lane's centre line: points in driving order. */
typedef struct lane {
    int first, count, turn, junction, control; /* turn: -1 right, 0, 1 left */
} lane;
typedef struct lane_map {
    char city[16];
    int lanes, points;
    lane *lane;
    float (*point)[2];
} lane_map;

/* traffic_read -- one scene: a header line, then TIMESTAMP,TRACK_ID,OBJECT_TYPE,X,Y,CITY_NAME. Owned by c.
 * There is one AGENT, seen at every step; 20 or 50 different times. 1, or 0 and FV_EIO, FV_EFORMAT. */
int traffic_read(fv_ctx *c, const char *path, traffic *t);
void traffic_free(fv_ctx *c, traffic *t);
/* lanes_read -- the lanes of a city: LANE_ID,X,Y,TURN_DIRECTION,IS_INTERSECTION,HAS_TRAFFIC_CONTROL, a line
 * for each point, those of a lane together. */
int lanes_read(fv_ctx *c, const char *path, lane_map *m);
void lanes_free(fv_ctx *c, lane_map *m);

/* traffic_write -- the demo, as traffic.c describes it, into DIR: train/N.csv, val/N.csv, lanes/CITY.csv. 1
 * or 0. */
int traffic_write(fv_ctx *c, const char *dir);
#endif
