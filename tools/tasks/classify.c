#include "classify.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { TOP = 5 };
/* indices of the greatest probabilities, the greatest first */
static int best_classes(const float *p, int classes, int *top) {
    int n = classes < TOP ? classes : TOP;
    for (int i = 0; i < n; i++) {
        top[i] = -1;
        for (int j = 0; j < classes; j++) {
            int taken = 0;
            for (int k = 0; k < i; k++) taken |= top[k] == j;
            if (!taken && (top[i] < 0 || p[j] > p[top[i]])) top[i] = j;
        }
    }
    return n;
}
static void print_prediction(run *r, const char *file, const float *p, int json) {
    int top[TOP], n = best_classes(p, r->model->num_classes, top);
    fv_text t = {0};
    if (json) {
        fv_text_add(r->c, &t, "{\"file\":");
        fv_text_json_string(r->c, &t, file);
        for (int i = -1; i < n; i++) { /* the best one, then the list */
            int k = top[i < 0 ? 0 : i];
            fv_text_add(r->c, &t, i < 0 ? ",\"class\":" : i ? ",{\"class\":" : ",\"top5\":[{\"class\":");
            fv_text_json_string(r->c, &t, k < r->classes ? r->class_names[k] : "?");
            fv_text_add(r->c, &t, ",\"probability\":%.6f%s", (double)p[k], i < 0 ? "" : "}");
        }
        fv_text_add(r->c, &t, "%s", run_list_end(json));
    } else
        fv_text_add(r->c, &t, "%s  %s  %.4f", file, top[0] < r->classes ? r->class_names[top[0]] : "?",
                    (double)p[top[0]]);
    if (!fv_error(r->c)) printf("%s\n", t.data);
    fv_text_free(r->c, &t);
}

int classify(run *r, fv_tensor *x, const char *file, int json) {
    fv_tensor *y = x ? fv_model_forward(r->c, r->model, x) : NULL;
    if (y) y = fv_softmax(r->c, y->type == FV_F32 ? y : fv_cast(r->c, y, FV_F32));
    float *p = y ? (float *)fv_alloc(r->c, (size_t)y->dim[1] * sizeof *p) : NULL;
    if (p && !run_mean(y, 0, y->dim[0], p))
        fv_fail(r->c, FV_ENONFINITE, "%s: the network's output is not finite", file);
    if (p && !fv_error(r->c)) print_prediction(r, file, p, json);
    fv_free(r->c, p);
    return !fv_error(r->c);
}

int classify_chance(run *r, figures *f) { return figure_add(f, "chance", 100.0 / r->classes, "%"), 1; }

int classify_sheet(run *r, const int32_t *index, int n, const char *png, int across, int side, int tall,
                   int (*picture)(run *, canvas *, int32_t, double, double)) {
    if (n < across) across = n;
    canvas v = canvas_new(r->c, across * (side + 16) + 16, (n + across - 1) / across * (tall + 52) + 16);
    float *p = (float *)fv_alloc(r->c, (size_t)r->model->num_classes * sizeof *p);
    int ok = v.rgb && p;
    for (int i = 0; i < n && ok; i++) {
        double x = 16 + i % across * (side + 16), top = 16 + i / across * (tall + 52);
        char text[160];
        int32_t truth = 0;
        int best = 0;
        ok = run_probabilities(r, SPLIT_TEST, &index[i], 1, p, &truth, NULL) &&
             picture(r, &v, index[i], x, top);
        for (int k = 1; ok && k < r->model->num_classes; k++)
            if (p[k] > p[best]) best = k;
        if (!ok) break;
        draw_text(&v, best < r->classes ? r->class_names[best] : "?", x + 2, top + tall + 18, 14,
                  best == truth ? 0x1a7f37 : 0xcf222e, side);
        snprintf(text, sizeof text, "is %s", truth < r->classes ? r->class_names[truth] : "?");
        if (best != truth) draw_text(&v, text, x + 2, top + tall + 35, 13, 0x57606a, side);
    }
    ok = ok && canvas_save(r->c, &v, png);
    canvas_free(r->c, &v);
    fv_free(r->c, p);
    return ok;
}
