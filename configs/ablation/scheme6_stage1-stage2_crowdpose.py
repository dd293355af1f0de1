# Scheme 6 of Table IV: both stages.
_base_ = ['../crowdpose/stage2_igpgcn_crowdpose.py']

model = dict(student_checkpoint='work_dirs/scheme4_feature-pose-structure_crowdpose')
