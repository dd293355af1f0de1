# Scheme 1 of Table IV: the baseline, and an IGP-GCN that the labels teach.
_base_ = ['tskd-stage2_simcc_hrnet-w48-to-w32-igpgcn_4xb32-30e_crowdpose-256x192.py']

model = dict(
    teacher=None,
    teacher_checkpoint=None,
    student_checkpoint='work_dirs/simcc_hrnet-w32_4xb32-210e_crowdpose-256x192',
    task_loss=True,
    distill_losses=None)
