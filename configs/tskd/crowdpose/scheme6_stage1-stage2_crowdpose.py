# Scheme 6 of Table IV: both stages.
_base_ = ['tskd-stage2_simcc_hrnet-w48-to-w32-igpgcn_4xb32-30e_crowdpose-256x192.py']

model = dict(student_checkpoint='work_dirs/scheme4_feature-pose-structure_crowdpose')
